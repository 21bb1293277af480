"""A rule's variants, traced once and compiled by every contraction order, beside the oracle's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from bench import Bench, Variant
from torch import Tensor

from clipcompiler.audit import audit
from clipcompiler.axes import Axes, analyse
from clipcompiler.codegen import Program, generate
from clipcompiler.derive import derive
from clipcompiler.derive.derived import Derived
from clipcompiler.dsl import RuleSet
from clipcompiler.plan import Choice, Plan, choose, plan
from clipcompiler.rules import default_rules
from clipcompiler.runtime import CompiledStep, Tools
from clipcompiler.same_losses import prove_same_losses
from clipcompiler.trace import trace
from clipcompiler.verify import Oracle, oracle, verify

__all__ = ["Laboratory", "cast"]


@dataclass(frozen=True)
class Laboratory:
    """Some variants in one module, their axes and the programs of every order.

    Attributes:
        bench: the module.
        axes: where the examples lie in its graph.
        compiled: the plan and program of each order, the planner's own choice first.
        bound: C, at which some examples are clipped and some are not.
    """

    bench: Bench
    axes: Axes
    compiled: tuple[tuple[Plan, Program], ...]
    bound: float

    @classmethod
    def of(
        cls, variants: Sequence[Variant], most: int, dtype: torch.dtype = torch.float64, rules: RuleSet = default_rules
    ) -> Laboratory:
        """Traces the variants in ``dtype`` and generates the programs of up to ``most`` orders."""
        bench = Bench(variants).to(dtype)
        axes = analyse(trace(bench, None, cast(bench.batch(3), dtype)), rules)
        compiled = tuple((p, generate(p)) for p in plans(derive(axes), most))
        return cls(bench, axes, compiled, float(oracle(bench, None, bench.batch(3)).norms.median()))

    def steps(self, bench: Bench | None = None) -> Iterator[CompiledStep]:
        """The compiled step of every order, on the module traced or one like it."""
        for found in self.compiled:
            tools = Tools(compiler_of(found), verify, audit, prove_same_losses)
            yield CompiledStep(bench or self.bench, None, self.bound, tools)

    def truth(self, batch: tuple[Tensor, ...]) -> Oracle:
        """One backward pass an example."""
        return oracle(self.bench, None, batch, max_grad_norm=self.bound)

    def disagreement(self, step: CompiledStep, batch: tuple[Tensor, ...], truth: Oracle, tolerance: float) -> str:
        """What of norms and clipped sums differs from the oracle: the variants whose sums do, or "norms"."""
        result, gradients = step.gradients(*batch)
        size = torch.cat([g.flatten() for g in truth.gradients.values()]).norm()
        wrong = [
            k
            for k, g in gradients.items()
            if k in truth.gradients and not close(g, truth.gradients[k], tolerance * size)
        ]
        if gradients.keys() != truth.gradients.keys():
            return f"gradients of {sorted(gradients.keys() ^ truth.gradients.keys())}"
        if not close(result.norms, truth.norms, tolerance * truth.norms.norm()) or wrong:
            chosen = "; ".join(f"{c.name}: {c.order.value}" for c in step.plan.choices)
            where = "; ".join(f"{name} of {self.variant(name)}" for name in wrong)
            return f"norms {result.norms} for {truth.norms}; sums of {where}; orders {chosen}"
        return ""

    def variant(self, name: str) -> Variant:
        """The variant that a parameter belongs to."""
        return self.bench.variants[int(name.removeprefix("v").split("_")[0])]


def cast(batch: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The batch with its real tensors in ``dtype``."""
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in batch)


def close(found: Tensor, truth: Tensor, tolerance: Tensor) -> bool:
    """‖found − truth‖ ≤ tolerance; both are finite."""
    return bool(torch.isfinite(found).all()) and bool((found.double() - truth).norm() <= tolerance)


@dataclass(frozen=True)
class OneProgram:
    """A plan with one program, whatever the batch."""

    plan: Plan
    program: Program

    def rounded(self, batch: Sequence[torch.Tensor]) -> tuple[int, ...]:
        """All sizes are one."""
        return (0,)


def compiler_of(found: tuple[Plan, Program]) -> Callable[..., OneProgram]:
    """A compiler that has one answer."""
    return lambda *_: OneProgram(*found)


def plans(derived: Derived, most: int) -> Iterator[Plan]:
    """The planner's own choice, then plans that take the j-th way of every parameter, for each j."""
    counts: list[int] = []

    def count(ways: list[Choice]) -> list[Choice]:
        counts.append(len(ways))
        return ways

    with chosen_by(count):
        yield plan(derived)
    for j in range(min(max(counts, default=0), most)):
        with chosen_by(lambda ways, j=j: [ways[j % len(ways)]]):
            yield plan(derived)


@contextmanager
def chosen_by(choice: Callable[[list[Choice]], list[Choice]]) -> Iterator[None]:
    """Within, the planner sees of the ways of a parameter those that ``choice`` leaves."""
    candidates = choose.candidates
    with mock.patch.object(choose, "candidates", lambda *args: choice(candidates(*args))):
        yield
