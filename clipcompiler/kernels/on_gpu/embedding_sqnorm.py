"""‖g[n]‖² = Σ_ss' [v_s = v_s'] ȳ_s·ȳ_s': the vocabulary is not sorted; tiles without a match are skipped."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.gram_sqnorm import LARGEST, gram_of_tile
from clipcompiler.kernels.on_gpu.tiles import (
    accumulator,
    launched,
    summed_in,
    tile_of_triangle,
    tried,
    when_interpreted,
)

__all__ = ["embedding_sqnorm"]

CONFIGS = [
    triton.Config({"S_TILE": s, "FEATURES": f}, num_warps=w, num_stages=p)
    for s, f, w, p in ((64, 64, 4, 4), (32, 64, 4, 4), (32, 128, 4, 3), (16, 64, 2, 4), (16, 128, 2, 4))
]


@tried(CONFIGS, ("count", "features"))
@triton.jit
def matching_tiles(
    squares, parts, y, rows, count, features, y_n, y_s, y_f, rows_n, rows_s, padding, programs,
    S_TILE: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Every ``programs``-th pair of tiles of one example: their squares, and the parts that rounding goes by."""
    program = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    square = tl.zeros((1,), dtype=ACC)
    part = tl.zeros((1,), dtype=ACC)
    tiles = tl.cdiv(count, S_TILE)
    for place in range(program, tiles * (tiles + 1) // 2, programs):
        first, second = tile_of_triangle(place)
        s = first * S_TILE + tl.arange(0, S_TILE)
        t = second * S_TILE + tl.arange(0, S_TILE)
        v = tl.load(rows + n * rows_n + s * rows_s, mask=s < count, other=padding)
        w = tl.load(rows + n * rows_n + t * rows_s, mask=t < count, other=padding)
        read = (s < count)[:, None] & (t < count)[None, :] & (v != padding)[:, None]
        match = (v[:, None] == w[None, :]) & read
        if tl.max(tl.max(match.to(tl.int32), axis=1), axis=0) > 0:
            gram = gram_of_tile(y + n * y_n, y_s, y_f, first, second, count, features, S_TILE, FEATURES, ACC)
            both = tl.where(match, gram, 0.0)
            twice = tl.where(first < second, 2.0, 1.0).to(ACC)
            square += tl.sum(tl.sum(both, axis=1), axis=0) * twice
            part += tl.sum(tl.sum(tl.where(s[:, None] == t[None, :], both, 0.0), axis=1), axis=0)
    to = n * programs + program + tl.arange(0, 1)
    tl.store(squares + to, square)
    tl.store(parts + to, part)


def embedding_sqnorm(y: Tensor, rows: Tensor, padding: int, **sizes: int) -> tuple[Tensor, Tensor]:
    """The squares and their parts, [N] each, of ȳ [N, S, D] and the rows [N, S] that were read; ``padding`` counts 0.

    ``sizes`` are those of tiles where the kernel is interpreted: S_TILE positions and FEATURES at a time.
    """
    examples, count, features = y.shape
    tiles = -(-count // LARGEST)
    programs = max(1, tiles * (tiles + 1) // 2)
    squares, parts = (y.new_empty((examples, programs), dtype=summed_in(y.dtype)) for _ in range(2))
    if examples:
        launched(
            matching_tiles, (programs, examples), squares, parts, y, rows, count, features, *y.stride(),
            *rows.stride(), padding, programs,
            ACC=accumulator(y.dtype), **when_interpreted(sizes, S_TILE=16, FEATURES=16),
        )  # fmt: skip
    return squares.sum(1), parts.sum(1)
