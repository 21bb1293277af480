"""derived + batch + wishes → plan and program: stages 4 to 6, with the examples at a time, tuned where asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clipcompiler.autotune import Meter, tuned_chunk, tuned_plan
from clipcompiler.clipping import Clipping
from clipcompiler.codegen import Program, generate
from clipcompiler.derive import Derived
from clipcompiler.derive.by_unit import by_unit
from clipcompiler.memory import Subject, in_chunks
from clipcompiler.plan import Choice, Machine, Plan, machine_of, plan

__all__ = ["Wishes", "fitted"]

#: Chooses among the ways of one parameter.
Pick = Callable[[list[Choice]], Choice]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What ``compile`` was asked for, beside the model.

    Attributes:
        clipping: what the factors follow from.
        strategy: "auto", "bookkeeping" or "reweight".
        budget: "fast", "lean", or bytes.
        chunk_size: the examples at a time, where they are given.
        autotune: whether orders and examples at a time are measured.
    """

    clipping: Clipping
    strategy: str
    budget: str | int
    chunk_size: int | None
    autotune: bool

    def plan(self, derived: Derived, machine: Machine, pick: Pick | None = None, *, share: bool = True) -> Plan:
        """The plan for a machine."""
        return plan(derived, machine, self.clipping, self.strategy, pick, share=share)


def fitted(derived: Derived, subject: Subject, wishes: Wishes, *, units: bool) -> tuple[Plan, Program]:
    """The plan and the program for the device and the batch of a subject.

    With ``units`` the privacy units are known at call time only: they stay whole, and as many examples are run at a
    time as without them.

    Raises:
        ValueError: where ``chunk_size`` is no positive number, the strategy cannot give the sums, or bytes are to be
            kept for units.
        MemoryBudgetTooSmall: where the budget cannot be kept.
    """
    machine = machine_of(subject.device)
    planned = wishes.plan(derived, machine)
    if units and isinstance(wishes.budget, int):
        raise ValueError("what units of any size need cannot be predicted: give no memory in bytes with unit_ids")
    program = in_chunks(planned, generate(planned), subject, wishes.budget, wishes.chunk_size, machine)
    if units:
        by_units = wishes.plan(by_unit(derived), machine)
        return by_units, generate(by_units).chunked_like(program)
    if not wishes.autotune or subject.size == 0:
        return planned, program
    return tuned(derived, subject, wishes, machine, planned, program)


def tuned(
    derived: Derived, subject: Subject, wishes: Wishes, machine: Machine, planned: Plan, program: Program
) -> tuple[Plan, Program]:
    """The plan and the examples at a time that take the least time, measured."""

    def planner(pick: Pick, share: bool) -> Plan:
        return wishes.plan(derived, machine, pick, share=share)

    planned = tuned_plan(Meter.of(planned, program, subject), planner)
    program = in_chunks(planned, generate(planned), subject, wishes.budget, wishes.chunk_size, machine)
    if wishes.chunk_size is None:
        units = subject.size // derived.axes.traced.examples_per_unit
        program = tuned_chunk(program, Meter.of(planned, program, subject), units)
    return planned, program
