"""Plan, program, model, batch, budget → the program with the number of examples that it takes at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from clipcompiler.codegen import Program
from clipcompiler.memory.budget import Budget
from clipcompiler.memory.fit import fit, ordinary_peak, step_peak
from clipcompiler.plan import Machine, Plan, fastest_chunk, sizes_of
from clipcompiler.runtime.compilation import tensors_of
from clipcompiler.runtime.load import scope_of
from clipcompiler.same_losses import own_copy
from clipcompiler.trace.autocast import Autocast

__all__ = ["Subject", "in_chunks"]

#: Activations of a batch, in bytes, below which "fast" does not look at memory at all.
SMALL = 32 * 2**20
PREDICTED, MEASURED = "the fastest predicted for {}", "the fastest measured"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a program was compiled for: the model, the loss, and a batch as it was given."""

    model: nn.Module
    loss_fn: Callable[..., Tensor] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def size(self) -> int:
        """The number of examples."""
        return self.batch[0].shape[0]

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Subject:
        """The same model and loss with another batch."""
        return replace(self, args=args, kwargs=kwargs)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        tensors = (*self.model.parameters(), *self.batch)
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def batch(self) -> tuple[Tensor, ...]:
        """The tensors of the batch."""
        return tuple(t for t in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(t, Tensor))


def in_chunks(
    plan: Plan,
    program: Program,
    subject: Subject,
    budget: Budget,
    chunk_size: int | None,
    machine: Machine,
    *,
    size: int,
    quick: int | None = None,
) -> Program:
    """The program with its examples at a time: as they are given, or as are fastest of those that a budget allows.

    ``size`` is the number of units to choose for, of the kind of the subject's batch; ``quick`` the fastest, where it
    is known.

    Raises:
        ValueError: where ``chunk_size`` is no positive number.
        MemoryBudgetTooSmall: where the budget cannot be kept.
    """
    if chunk_size is not None:
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size!r}: give a whole number of examples, 1 or more")
        return program.in_chunks(chunk_size, "as given by chunk_size")
    if size == 0:
        return program
    m, sizes = plan.derived.axes.traced.examples_per_unit, sizes_of(plan)
    fastest = MEASURED if quick else PREDICTED.format(size)
    if budget == "fast" and size * sizes.activations < SMALL:
        quick = quick or fastest_chunk(sizes, size, machine)
        return program.in_chunks(quick, fastest) if quick < size else program
    step, autocast = cache(peak_of_step(plan, program, subject, m)), plan.derived.axes.traced.autocast
    if not quick:
        an_example = (step(size, size) - step(1, 1)) // max(1, size - 1)
        quick = fastest_chunk(replace(sizes, peak=an_example), size, machine)
    found = fit(budget, step, peak_of_ordinary(subject, m, autocast), size, quick)
    why = [fastest] if found.chunk == quick < size else []
    why += [f"{found.peak / 2**20:.0f} MiB at the peak"]
    why += [] if found.ordinary is None else [f"an ordinary step of {size} {found.ordinary / 2**20:.0f} MiB"]
    return program.in_chunks(found.chunk, ", ".join(why))


def peak_of_step(plan: Plan, program: Program, subject: Subject, m: int) -> Callable[[int, int], int]:
    """(units, units at a time) → the predicted peak of the program."""
    scope = scope_of(program, "a program on tensors without data")
    scope["count_all"] = lambda *_: None  # it looks at data
    tensors = tensors_of(plan, program, subject.model, subject.loss_fn)
    options = {} if plan.clipping.called is None else {"clipping": plan.clipping.called}
    peak = step_peak(scope["clipped_gradients"], tensors, subject.batch, options)
    return lambda size, chunk: peak(size * m, chunk)


def peak_of_ordinary(subject: Subject, m: int, autocast: Autocast | None = None) -> Callable[[int], int]:
    """Units → the predicted peak of an ordinary step, of a copy of the model: its forward may keep what it computes."""
    model, loss_fn = own_copy(subject.model), own_copy(subject.loss_fn)
    apart = model is not subject.model and (loss_fn is not subject.loss_fn or not isinstance(loss_fn, nn.Module))
    peak = ordinary_peak(model, loss_fn, subject.args, subject.kwargs, with_data=not apart)

    def under_autocast(size: int) -> int:
        with (autocast or Autocast.off()).applied():
            return peak(size * m)

    return under_autocast
