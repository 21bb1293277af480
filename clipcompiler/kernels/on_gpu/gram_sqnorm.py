"""‖g[n]‖² = Σ_ss' (ȳ_s·ȳ_s')(x_s·x_s' + b), tile by tile of the positions s ≤ s': no Gram is written to memory."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.tiles import (
    accumulator,
    launched,
    product,
    summed_in,
    tile_of_triangle,
    tried,
    when_interpreted,
)

__all__ = ["AT_ONCE", "gram_sqnorm"]

#: The most cotangents that share one Gram of x in one launch.
AT_ONCE = 4
CONFIGS = [
    triton.Config({"S_TILE": s, "FEATURES": f}, num_warps=w, num_stages=p)
    for s, f, w, p in (
        (128, 64, 8, 3), (128, 32, 8, 4), (128, 64, 4, 3), (64, 64, 4, 4), (64, 128, 4, 3), (64, 32, 4, 5),
        (32, 64, 4, 4), (16, 64, 2, 4),
    )
]  # fmt: skip
LARGEST = 128


@triton.jit
def gram_of_tile(
    x,
    stride_s,
    stride_f,
    first,
    second,
    count,
    features,
    S_TILE: tl.constexpr,
    FEATURES: tl.constexpr,
    ACC: tl.constexpr,
):
    """K[s,s'] = Σ_f x[s,f] x[s',f] for the positions of two tiles; 0 beyond the last."""
    rows = first * S_TILE + tl.arange(0, S_TILE)
    columns = second * S_TILE + tl.arange(0, S_TILE)
    gram = tl.zeros((S_TILE, S_TILE), dtype=ACC)
    for start in range(0, features, FEATURES):
        own = start + tl.arange(0, FEATURES)
        a = tl.load(
            x + rows[:, None] * stride_s + own[None, :] * stride_f,
            mask=(rows < count)[:, None] & (own < features)[None, :],
            other=0.0,
        )
        b = tl.load(
            x + columns[None, :] * stride_s + own[:, None] * stride_f,
            mask=(columns < count)[None, :] & (own < features)[:, None],
            other=0.0,
        )
        gram = product(a, b, gram, ACC)
    return gram


@tried(CONFIGS, ("count", "features", "outputs_0", "COTANGENTS"))
@triton.jit
def gram_tiles(
    squares, parts, x, y_0, y_1, y_2, y_3,
    count, features, outputs_0, outputs_1, outputs_2, outputs_3,
    x_n, x_s, x_f, y_0_n, y_0_s, y_0_f, y_1_n, y_1_s, y_1_f, y_2_n, y_2_s, y_2_f, y_3_n, y_3_s, y_3_f,
    bias_0, bias_1, bias_2, bias_3, programs,
    COTANGENTS: tl.constexpr, S_TILE: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Every ``programs``-th pair of tiles of one example: their squares, and the parts that rounding goes by."""
    program = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    cotangents = tl.arange(0, 4)
    square = tl.zeros((4,), dtype=ACC)
    part = tl.zeros((4,), dtype=ACC)
    tiles = tl.cdiv(count, S_TILE)
    for place in range(program, tiles * (tiles + 1) // 2, programs):
        first, second = tile_of_triangle(place)
        k = gram_of_tile(x + n * x_n, x_s, x_f, first, second, count, features, S_TILE, FEATURES, ACC)
        twice = tl.where(first < second, 2.0, 1.0).to(ACC)
        same = (first * S_TILE + tl.arange(0, S_TILE))[:, None] == (second * S_TILE + tl.arange(0, S_TILE))[None, :]
        for c in tl.static_range(COTANGENTS):
            if c == 0:
                y, outputs, bias, stride_n, stride_s, stride_f = y_0, outputs_0, bias_0, y_0_n, y_0_s, y_0_f
            elif c == 1:
                y, outputs, bias, stride_n, stride_s, stride_f = y_1, outputs_1, bias_1, y_1_n, y_1_s, y_1_f
            elif c == 2:
                y, outputs, bias, stride_n, stride_s, stride_f = y_2, outputs_2, bias_2, y_2_n, y_2_s, y_2_f
            else:
                y, outputs, bias, stride_n, stride_s, stride_f = y_3, outputs_3, bias_3, y_3_n, y_3_s, y_3_f
            own = gram_of_tile(
                y + n * stride_n, stride_s, stride_f, first, second, count, outputs, S_TILE, FEATURES, ACC
            )
            both = own * (k + bias)
            square += tl.where(cotangents == c, tl.sum(tl.sum(both, axis=1), axis=0) * twice, 0.0)
            part += tl.where(cotangents == c, tl.sum(tl.sum(tl.where(same, both, 0.0), axis=1), axis=0), 0.0)
    to = (n * programs + program) * 4 + cotangents
    tl.store(squares + to, square)
    tl.store(parts + to, part)


def gram_sqnorm(
    cotangents: Sequence[Tensor], x: Tensor, biases: Sequence[float], **sizes: int
) -> tuple[Tensor, Tensor]:
    """The squares and their parts, [C, N] each, of up to ``AT_ONCE`` cotangents ȳ [N, S, O] with one x [N, S, I].

    ``sizes`` are those of tiles where the kernel is interpreted: S_TILE positions and FEATURES at a time.
    """
    examples, count, features = x.shape
    tiles = -(-count // LARGEST)
    programs = max(1, tiles * (tiles + 1) // 2)
    squares, parts = (x.new_empty((examples, programs, AT_ONCE), dtype=summed_in(x.dtype)) for _ in range(2))
    if examples:
        given = [*cotangents, *[cotangents[0]] * (AT_ONCE - len(cotangents))]
        factors = [*biases, *[0.0] * (AT_ONCE - len(biases))]
        launched(
            gram_tiles, (programs, examples), squares, parts, x, *given,
            count, features, *(y.shape[2] for y in given),
            *x.stride(), *(stride for y in given for stride in y.stride()), *factors, programs,
            COTANGENTS=len(cotangents), ACC=accumulator(x.dtype), **when_interpreted(sizes, S_TILE=16, FEATURES=16),
        )  # fmt: skip
    return squares.sum(1).T[: len(cotangents)], parts.sum(1).T[: len(cotangents)]
