"""Plan, model, batch → the plan and the chunk that took the least time, measured on the real shapes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from clipcompiler.autotune.timed import seconds_of
from clipcompiler.codegen import Program
from clipcompiler.memory import Subject
from clipcompiler.plan import Choice, Plan, single
from clipcompiler.runtime.compilation import tensors_of
from clipcompiler.runtime.load import load

__all__ = ["Meter", "tuned_chunk", "tuned_plan"]

#: (what chooses among the ways of a parameter, whether Grams are shared after that) → a plan.
Planner = Callable[[Callable[[list[Choice]], Choice], bool], Plan]


def to_stderr(text: str) -> None:
    """Shows what was measured."""
    print(f"autotune: {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Meter:
    """Measures the ways of one parameter after the other.

    Attributes:
        plan: the plan by predictions, whose forward and cotangents the ways share.
        given: the arguments of a program beside the batch, then the batch.
        options: the keyword arguments of a program.
        tell: is told each result as text.
        found: for each parameter its ways with their seconds.
    """

    plan: Plan
    given: tuple[Any, ...]
    options: dict[str, Any]
    tell: Callable[[str], None] = to_stderr
    found: dict[str, list[tuple[Choice, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, program: Program, subject: Subject) -> Meter:
        """Of the program of a plan, on the batch that it was compiled for."""
        given = tensors_of(plan, program, subject.model, subject.loss_fn)
        options: dict[str, Any] = {"max_grad_norm": 1.0, "chunk": program.chunk}
        if plan.clipping.called is not None:
            options["clipping"] = plan.clipping.called
        return cls(plan, (*given.values(), *subject.batch), options)

    def fastest(self, ways: list[Choice]) -> Choice:
        """The fastest of some ways, with the seconds as the reason; measured once."""
        name = ways[0].name
        if name not in self.found:
            plans = [single(self.plan, way) for way in ways]
            took = seconds_of(plans, self.given, self.options) if len(ways) > 1 else [0.0]
            self.found[name] = sorted(zip(ways, took, strict=True), key=lambda found: found[1])
            self.tell(f"{name}: {self.reason(name)}")
        return replace(self.found[name][0][0], why=self.reason(name))

    def reason(self, name: str) -> str:
        """The seconds of the three fastest."""
        ranked = self.found[name]
        if len(ranked) == 1:
            return "there is no other way"
        return "measured: " + " < ".join(f"{way.label} {1e3 * took:.3g} ms" for way, took in ranked[:3])


def tuned_plan(meter: Meter, planner: Planner) -> Plan:
    """Of three plans the fastest: as predicted, as measured one by one, and with Grams shared after that."""
    with torch.random.fork_rng(devices=[]):
        plans = [meter.plan, planner(meter.fastest, False), planner(meter.fastest, True)]
        took = seconds_of(plans, meter.given, meter.options, repeats=7)
    named = zip(("as predicted", "as measured one by one", "and with Grams shared"), took, strict=True)
    meter.tell(f"norms and sums of a step: {', '.join(f'{name} {1e3 * t:.3g} ms' for name, t in named)}")
    return plans[took.index(min(took))]


def tuned_chunk(program: Program, meter: Meter, size: int) -> Program:
    """The program with the fastest of its examples at a time, of those and of half, a quarter and an eighth of them."""
    most = program.chunk or size
    chunks = list(dict.fromkeys(-(-most // part) for part in (1, 2, 4, 8)))
    function = load(program, "a program that is timed")
    found: dict[int, list[float]] = {chunk: [] for chunk in chunks}
    with torch.random.fork_rng(devices=[]):
        for _ in range(6):
            for chunk, seconds in found.items():
                start = time.perf_counter()
                function(*meter.given, **{**meter.options, "chunk": chunk})
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
    took = {chunk: statistics.median(seconds[1:]) for chunk, seconds in found.items()}
    best = min(took, key=took.__getitem__)
    listed = ", ".join(f"{chunk}: {1e3 * t:.3g} ms" for chunk, t in took.items())
    meter.tell(f"a step by examples at a time: {listed}")
    return program.in_chunks(None if best >= size else best, f"the fastest measured for {size}: {listed}")
