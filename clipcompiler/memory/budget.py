"""memory="fast" | "lean" | bytes → how many examples at a time.

The peak of a step grows with the examples of a chunk: by their activations and cotangents. It is predicted by running
the program on tensors without data, for two chunks: in the second the sums of the first are alive too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from clipcompiler.errors import MemoryBudgetTooSmall

__all__ = ["Budget", "Memory", "parsed", "rounded", "within"]

#: A budget as it is given to ``compile``.
Budget = str | int
#: The peak of a step, as multiples of an ordinary step's, that the two words stand for.
SHARES = {"fast": 1.25, "lean": 1.0}
#: What kernels allocate inside themselves, and what an allocator holds back, as a share of the peak; and as much again,
#: up to these bytes.
UNSEEN, HELD_BACK = 0.1, 4 * 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """What a step holds at its peak, as predicted.

    Attributes:
        chunk: the examples at a time; ``None`` for all.
        peak: bytes of a step of ``examples``, beside the model and the batch.
        ordinary: bytes of an ordinary step of as many, where it was asked for.
        examples: the number of examples that it was predicted for.
    """

    chunk: int | None
    peak: int
    ordinary: int | None
    examples: int


def parsed(memory: Any) -> Budget:
    """A budget as it is given, checked.

    Raises:
        ValueError: where it is neither a known word nor a positive whole number.
    """
    if isinstance(memory, str) and memory in SHARES:
        return memory
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    raise ValueError(f"memory is {memory!r}: give 'fast', 'lean', or a number of bytes")


def within(budget: int, peak: Callable[[int], int], size: int) -> int:
    """The most examples at a time that keep the predicted peak within a budget.

    Args:
        budget: bytes.
        peak: the predicted bytes for a number of examples at a time; it grows with them.
        size: the most examples at a time.

    Raises:
        MemoryBudgetTooSmall: where one example at a time needs more; it says how much.
    """
    known = cache(peak)
    if known(size) <= budget:
        return size
    least = known(1)
    if least > budget:
        raise MemoryBudgetTooSmall(budget, least)
    low, high = 1, size  # low fits, high does not
    while high - low > max(1, low // 8):
        guess = low + int((high - low) * (budget - known(low)) / (known(high) - known(low)))
        middle = min(max(guess, low + 1), high - 1)
        low, high = (middle, high) if known(middle) <= budget else (low, middle)
    return low


def rounded(size: int, *, up: bool) -> int:
    """A size to four binary digits: what is chosen for it holds for those that are rounded to it.

    Bytes that are kept for more examples are kept for fewer: up. What an ordinary step of fewer examples holds, one of
    more holds too: down.
    """
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step if up else size // step * step
