"""What the kernels share: the tiles of a triangle, sums of tiles, and the sizes of tiles that are tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import triton
import triton.language as tl

__all__ = [
    "INTERPRETED",
    "accumulator",
    "launched",
    "product",
    "summed_in",
    "tile_of_triangle",
    "tried",
    "when_interpreted",
]

#: Whether kernels are run by Triton's interpreter, on a CPU.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"

WIDENED = tl.constexpr(INTERPRETED)


@triton.jit
def tile_of_triangle(place):
    """0, 1, 2, … → (0, 0), (0, 1), (1, 1), (0, 2), …: row ≤ column."""
    column = ((tl.sqrt(8.0 * place + 1.0) - 1.0) * 0.5).to(tl.int32)
    column += tl.where((column + 1) * (column + 2) // 2 <= place, 1, 0)  # a root may be rounded across
    column -= tl.where(column * (column + 1) // 2 > place, 1, 0)
    return place - column * (column + 1) // 2, column


@triton.jit
def product(a, b, sum, ACC: tl.constexpr):
    """sum + a b; float32 as float32, not rounded to TF32. The interpreter has no products of bfloat16."""
    if WIDENED:
        a, b = a.to(ACC), b.to(ACC)
    return tl.dot(a, b, sum, input_precision="ieee", out_dtype=ACC)


def summed_in(dtype: torch.dtype) -> torch.dtype:
    """Sums are in float32, of float64 in float64."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def accumulator(dtype: torch.dtype) -> Any:
    """The same to Triton."""
    return tl.float64 if dtype is torch.float64 else tl.float32


def tried(configs: Sequence[triton.Config], key: Sequence[str]) -> Callable[[Any], Any]:
    """The fastest of some sizes of tiles, measured once for each ``key`` and kept on disk; interpreted, none is."""
    if INTERPRETED:
        return lambda kernel: kernel
    decorated: Callable[[Any], Any] = triton.autotune(list(configs), list(key), cache_results=True)
    return decorated


def launched(kernel: Any, grid: Any, *args: Any, **sizes: Any) -> None:
    """Runs a kernel over a grid of programs."""
    (kernel if INTERPRETED else torch.library.wrap_triton(kernel))[grid](*args, **sizes)


def when_interpreted(given: Mapping[str, int], **smallest: int) -> dict[str, int]:
    """The sizes of tiles that an interpreted kernel takes: those given, else the smallest. Others are tried."""
    return {**smallest, **given} if INTERPRETED else {}
