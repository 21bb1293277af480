"""‖g[n]‖² = Σ_d (Σ_s ȳ[s,d] (x[s,d] − μ[s]) ρ[s])², and of the shift Σ_d (Σ_s ȳ[s,d])²: x̂ is not written to memory."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.tiles import accumulator, launched, summed_in, tried, when_interpreted

__all__ = ["layer_norm_sqnorm"]

CONFIGS = [
    triton.Config({"D_TILE": d, "POSITIONS": s}, num_warps=w, num_stages=p)
    for d, s, w, p in ((64, 64, 4, 2), (64, 128, 8, 2), (128, 32, 4, 3), (32, 128, 4, 2), (16, 64, 2, 2))
]
LARGEST = 64


@tried(CONFIGS, ("count", "features"))
@triton.jit
def columns(
    squares, shifts, y, x, mean, rstd, count, features,
    y_n, y_s, y_d, x_n, x_s, x_d, mean_n, mean_s, rstd_n, rstd_s, programs,
    D_TILE: tl.constexpr, POSITIONS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Every ``programs``-th tile of the columns of one example: their squares."""
    program = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    square = tl.zeros((1,), dtype=ACC)
    shift = tl.zeros((1,), dtype=ACC)
    for place in range(program, tl.cdiv(features, D_TILE), programs):
        d = place * D_TILE + tl.arange(0, D_TILE)
        g = tl.zeros((D_TILE,), dtype=ACC)
        g_shift = tl.zeros((D_TILE,), dtype=ACC)
        for start in range(0, count, POSITIONS):
            s = start + tl.arange(0, POSITIONS)
            mask = (s < count)[:, None] & (d < features)[None, :]
            a = tl.load(y + n * y_n + s[:, None] * y_s + d[None, :] * y_d, mask=mask, other=0.0).to(ACC)
            b = tl.load(x + n * x_n + s[:, None] * x_s + d[None, :] * x_d, mask=mask, other=0.0).to(ACC)
            m = tl.load(mean + n * mean_n + s * mean_s, mask=s < count, other=0.0).to(ACC)
            r = tl.load(rstd + n * rstd_n + s * rstd_s, mask=s < count, other=0.0).to(ACC)
            g += tl.sum(a * (b - m[:, None]) * r[:, None], axis=0)
            g_shift += tl.sum(a, axis=0)
        square += tl.sum(g * g, axis=0)
        shift += tl.sum(g_shift * g_shift, axis=0)
    to = n * programs + program + tl.arange(0, 1)
    tl.store(squares + to, square)
    tl.store(shifts + to, shift)


def layer_norm_sqnorm(y: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, **sizes: int) -> tuple[Tensor, Tensor]:
    """The squares [N] of a scale and of a shift, of ȳ and x [N, S, D] and the μ and ρ [N, S] of the positions.

    ``sizes`` are those of tiles where the kernel is interpreted: D_TILE and POSITIONS.
    """
    examples, count, features = y.shape
    programs = max(1, -(-features // LARGEST))
    squares, shifts = (y.new_empty((examples, programs), dtype=summed_in(y.dtype)) for _ in range(2))
    if examples:
        launched(
            columns, (programs, examples), squares, shifts, y, x, mean, rstd, count, features,
            *y.stride(), *x.stride(), *mean.stride(), *rstd.stride(), programs,
            ACC=accumulator(y.dtype), **when_interpreted(sizes, D_TILE=16, POSITIONS=16),
        )  # fmt: skip
    return squares.sum(1), shifts.sum(1)
