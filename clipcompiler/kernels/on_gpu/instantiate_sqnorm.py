"""‖g[n]‖² = Σ_oi (Σ_s ȳ[s,o] x[s,i])² + b Σ_o (Σ_s ȳ[s,o])²: a tile of g is squared where it was summed."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.tiles import accumulator, launched, product, summed_in, tried, when_interpreted

__all__ = ["instantiate_sqnorm"]

CONFIGS = [
    triton.Config({"O_TILE": o, "I_TILE": i, "POSITIONS": s}, num_warps=w, num_stages=p)
    for o, i, s, w, p in (
        (128, 256, 64, 8, 3), (128, 128, 64, 8, 3), (128, 128, 32, 4, 4), (128, 64, 64, 4, 4), (64, 64, 64, 4, 4),
        (64, 64, 32, 4, 5), (32, 32, 64, 4, 4), (16, 64, 64, 4, 4), (64, 16, 64, 4, 4),
    )
]  # fmt: skip
LARGEST = 128


@tried(CONFIGS, ("count", "outputs", "features", "BIAS"))
@triton.jit
def gradient_tiles(
    squares, y, x, count, outputs, features, y_n, y_s, y_o, x_n, x_s, x_i, programs,
    O_TILE: tl.constexpr, I_TILE: tl.constexpr, POSITIONS: tl.constexpr, BIAS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Every ``programs``-th tile of the gradient of one example: their squares."""
    program = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    square = tl.zeros((1,), dtype=ACC)
    across = tl.maximum(tl.cdiv(features, I_TILE), 1)  # of no features, the bias is summed
    for place in range(program, tl.cdiv(outputs, O_TILE) * across, programs):
        o = (place // across) * O_TILE + tl.arange(0, O_TILE)
        i = (place % across) * I_TILE + tl.arange(0, I_TILE)
        g = tl.zeros((O_TILE, I_TILE), dtype=ACC)
        g_bias = tl.zeros((O_TILE,), dtype=ACC)
        for start in range(0, count, POSITIONS):
            s = start + tl.arange(0, POSITIONS)
            a = tl.load(
                y + n * y_n + s[None, :] * y_s + o[:, None] * y_o,
                mask=(s < count)[None, :] & (o < outputs)[:, None],
                other=0.0,
            )
            b = tl.load(
                x + n * x_n + s[:, None] * x_s + i[None, :] * x_i,
                mask=(s < count)[:, None] & (i < features)[None, :],
                other=0.0,
            )
            g = product(a, b, g, ACC)
            if BIAS:
                g_bias += tl.sum(a.to(ACC), axis=1)
        square += tl.sum(tl.sum(g * g, axis=1), axis=0)
        if BIAS:
            square += tl.where(place % across == 0, tl.sum(g_bias * g_bias, axis=0), 0.0)
    tl.store(squares + n * programs + program + tl.arange(0, 1), square)


def instantiate_sqnorm(y: Tensor, x: Tensor, bias: bool, **sizes: int) -> Tensor:
    """The squares [N] of ȳ [N, S, O] and x [N, S, I], with that of a bias.

    ``sizes`` are those of tiles where the kernel is interpreted: O_TILE, I_TILE and POSITIONS.
    """
    examples, count, features = x.shape
    outputs = y.shape[2]
    programs = max(1, -(-outputs // LARGEST) * max(1, -(-features // LARGEST)))
    squares = x.new_empty((examples, programs), dtype=summed_in(x.dtype))
    if examples:
        launched(
            gradient_tiles, (programs, examples), squares, y, x, count, outputs, features, *y.stride(), *x.stride(),
            programs,
            BIAS=bias, ACC=accumulator(x.dtype), **when_interpreted(sizes, O_TILE=16, I_TILE=16, POSITIONS=16),
        )  # fmt: skip
    return squares.sum(1)
