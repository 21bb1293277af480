"""Plan, tensors, batch → the seconds that its squared norms, clip factors and clipped sums take.

The generated program itself is run; a clock is read where its cotangents are known, and where its sums are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from clipcompiler.codegen import Program, generate
from clipcompiler.plan import Plan
from clipcompiler.runtime.load import scope_of

__all__ = ["Timed", "seconds_of"]

#: Where the clock is read: before the first line with norms, and at the end of some of the examples.
BEGIN, END = "        # ── squared norms", "        return losses.detach(), norms, clip_factors"


@dataclass(slots=True)
class Timed:
    """A program that can be run and timed.

    Attributes:
        function: its ``clipped_gradients``, which reads the clock.
        marks: the readings of the last run.
    """

    function: Callable[..., Any]
    marks: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan) -> Timed:
        """The program of a plan, with marks."""
        program = generate(plan)
        if program.source.count(BEGIN) != 1:  # nothing is squared
            return cls(lambda *_, **__: None)
        marked = program.source.replace(BEGIN, f"        _mark()\n{BEGIN}").replace(END, f"        _mark()\n{END}")
        scope = scope_of(Program(marked, (), (), (), (), ()), "a program that is timed")
        timed = cls(scope["clipped_gradients"])
        scope["_mark"] = timed.mark
        return timed

    def mark(self) -> None:
        """Reads the clock, once the device is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def run(self, *args: Any, **options: Any) -> float:
        """One run: the seconds between the marks, all chunks together."""
        self.marks.clear()
        self.function(*args, **options)
        return sum(end - start for start, end in zip(self.marks[::2], self.marks[1::2], strict=True))


def seconds_of(
    plans: Sequence[Plan],
    given: Sequence[Any],
    options: Mapping[str, Any],
    *,
    repeats: int = 5,
    limit: float = 2.0,
) -> list[float]:
    """The median seconds of each plan, run by turns; fewer runs where they take longer than ``limit`` in all."""
    programs = [Timed.of(plan) for plan in plans]
    found: list[list[float]] = [[] for _ in plans]
    start = time.perf_counter()
    for turn in range(repeats + 1):
        for program, seconds in zip(programs, found, strict=True):
            took = program.run(*given, **options)
            if turn:
                seconds.append(took)
        if turn and time.perf_counter() - start > limit:
            break
    return [statistics.median(seconds) for seconds in found]
