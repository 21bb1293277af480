"""derived + batch + wishes → plan and program: stages 4 to 6, with the examples at a time, tuned where asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clipcompiler.autotune import Meter, tuned_chunk, tuned_plan
from clipcompiler.clipping import Clipping
from clipcompiler.codegen import Program, generate
from clipcompiler.derive import Derived
from clipcompiler.derive.by_unit import by_unit
from clipcompiler.memory import Subject, in_chunks, rounded
from clipcompiler.plan import Choice, Machine, Plan, machine_of, plan
from clipcompiler.trace.lengths import of_lengths

__all__ = ["Fit", "Wishes", "fitted"]

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


@dataclass(frozen=True, slots=True)
class Fit:
    """What is computed, the program for the batch it was made for, and those for batches of other sizes.

    The programs differ in the examples at a time alone: a budget of bytes, or of a share of what an ordinary step
    holds, is kept for every batch, not for the first.

    Attributes:
        plan: what is computed.
        program: its program, for the batch that it was made for.
        subject: the model and the loss, without a batch.
        wishes: what was asked for.
        sample: the plan and the program whose memory is predicted: other ones where units are given at call time.
        quick: the examples at a time that were measured to be fastest; ``None`` where they are predicted.
    """

    plan: Plan
    program: Program
    subject: Subject
    wishes: Wishes
    sample: tuple[Plan, Program]
    quick: int | None = None

    def rounded(self, batch: Sequence[Tensor]) -> tuple[int, ...]:
        """The number of units, and the lengths, that a program for such a batch is made for."""
        if self.wishes.chunk_size is not None:
            return (0,)
        traced, up = self.plan.derived.axes.traced, isinstance(self.wishes.budget, int)
        sizes = [batch[0].shape[0] // traced.examples_per_unit, *(x.of(batch) for x in traced.lengths)]
        return tuple(rounded(size, up=up) for size in sizes)

    def program_for(self, sizes: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
        """The program for a number of units and some lengths, as ``rounded`` gives them, and a batch of that kind.

        Raises:
            MemoryBudgetTooSmall: where the budget cannot be kept.
        """
        size, *own = sizes
        lengths = dict(zip(self.plan.derived.axes.traced.lengths, own, strict=False))
        subject = self.subject.of(*of_lengths((args, kwargs), lengths))
        machine, wishes = machine_of(subject.device), self.wishes
        made = in_chunks(*self.sample, subject, wishes.budget, wishes.chunk_size, machine, size=size, quick=self.quick)
        return self.program.chunked_like(made)


def fitted(derived: Derived, subject: Subject, wishes: Wishes, *, units: bool) -> Fit:
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
    plain, alone = generate(planned), subject.of((), {})
    first = Fit(planned, plain, alone, wishes, (planned, plain))
    program = first.program_for(first.rounded(subject.batch), subject.args, subject.kwargs)
    if program.chunk is not None and program.chunk * derived.axes.traced.examples_per_unit < machine.examples:
        at_a_time = replace(machine, examples=program.chunk * derived.axes.traced.examples_per_unit)
        planned = wishes.plan(derived, at_a_time)  # a call weighs more beside few examples
        plain = generate(planned)
        first = Fit(planned, plain, alone, wishes, (planned, plain))
        program = first.program_for(first.rounded(subject.batch), subject.args, subject.kwargs)
    if units:
        by_units = wishes.plan(by_unit(derived), machine)
        return Fit(by_units, generate(by_units).chunked_like(program), alone, wishes, first.sample)
    if not wishes.autotune or subject.size == 0:
        return Fit(planned, program, alone, wishes, first.sample)
    return tuned(derived, subject, wishes, machine, planned, program)


def tuned(derived: Derived, subject: Subject, wishes: Wishes, machine: Machine, planned: Plan, program: Program) -> Fit:
    """The plan and the examples at a time that take the least time, measured."""

    def planner(pick: Pick, share: bool) -> Plan:
        return wishes.plan(derived, machine, pick, share=share)

    planned = tuned_plan(Meter.of(planned, program, subject), planner)
    plain = generate(planned)
    first = Fit(planned, plain, subject.of((), {}), wishes, (planned, plain))
    program = first.program_for(first.rounded(subject.batch), subject.args, subject.kwargs)
    if wishes.chunk_size is None:
        units = subject.size // derived.axes.traced.examples_per_unit
        program = tuned_chunk(program, Meter.of(planned, program, subject), units)
    return Fit(planned, program, first.subject, wishes, first.sample, program.chunk)
