"""The plan: one contraction order for every parameter, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.clipping import Clipping, Group
from clipcompiler.derive.derived import Derived
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.decisions import Decision
from clipcompiler.plan.table import table

__all__ = ["Plan"]

SCANNED = "recurrent layers: one kernel for all steps gives the cotangents of the gates"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed for each parameter, and why. ``print(plan)`` is the table.

    Attributes:
        derived: the gradients that are planned.
        choices: one for every parameter and every value computed from parameters.
        ordinary: the flops of an ordinary training step, in N.
        clipping: what the norms are clipped by.
        groups: the parameters that are clipped together.
        again: the flops of a second backward pass, where there is one.
        decisions: what is chosen otherwise for other lengths; ``choices`` are those for the usual ones.
        scans: whether one kernel runs all steps of a recurrent layer backwards, where the machine has kernels.
    """

    derived: Derived
    choices: tuple[Choice, ...]
    ordinary: Any
    clipping: Clipping
    groups: tuple[Group, ...]
    again: Any = 0
    decisions: tuple[Decision, ...] = ()
    scans: bool = False

    def passes_to(self, choice: Choice) -> bool:
        """Whether a second backward pass gives the clipped sum of a parameter, or passes through a value."""
        behind = any(c.reweighted and c.name in choice.parameters for c in self.choices)
        return choice.reweighted or behind

    def sums(self, choice: Choice) -> bool:
        """Whether the program adds up what one parameter, or value, contributes."""
        return choice.order not in (Order.FUNCTION, Order.READ_ONCE) and not self.passes_to(choice)

    @property
    def norm_flops(self) -> Any:
        """The flops of all squared norms, in N."""
        return sum((c.norm.products for c in self.choices), sympy.Integer(0))

    @property
    def sum_flops(self) -> Any:
        """The flops of all clipped sums, in N."""
        return sum((c.sum.flops for c in self.choices), sympy.Integer(0)) + self.again

    @property
    def sums_by(self) -> str:
        """Where the clipped sums come from."""
        return "by a second backward pass" if self.again else "in place of the gradients of parameters"

    def __getitem__(self, name: str) -> Choice:
        """The choice for a parameter by its name."""
        found = [c for c in self.choices if c.name == name]
        if not found:
            known = ", ".join(c.name for c in self.choices)
            raise KeyError(f"no parameter {name!r} in the plan; it has {known}")
        return found[0]

    def __str__(self) -> str:
        totals = (
            ("ordinary step", self.ordinary, "forward, gradients of activations and of parameters"),
            ("squared norms", self.norm_flops, "beyond the cotangents, which an ordinary step computes too"),
            ("clipped sums", self.sum_flops, self.sums_by),
        )
        unreached = [p.name for p in self.derived.unreached]
        frozen = [p.name for p in self.derived.axes.traced.parameters.values() if not p.trainable]
        text = table(self.choices, unreached, frozen, totals, self.derived.axes.traced.usual)
        return f"{text}\n{SCANNED}" if self.scans else text
