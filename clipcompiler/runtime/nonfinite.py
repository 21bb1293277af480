"""Examples whose loss or gradient is not finite: refused by name, or left out of the sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipcompiler.errors import NonFiniteExamples
from clipcompiler.runtime.batch import Batch
from clipcompiler.runtime.result import ClippedGradients

__all__ = ["Units", "dropped", "refused", "units_of"]

#: What a program gives: the result, and the clipped sums by name.
Outcome = tuple[ClippedGradients, dict[str, Tensor]]
#: A batch and the ids of its units, where they are known at call time → the outcome.
Run = Callable[[Batch, Tensor | None], Outcome]


@dataclass(frozen=True, slots=True)
class Units:
    """Which examples are clipped together.

    Attributes:
        of: the place of every example's unit among the units, [N].
        count: the number of units.
        ids: the ids that units were given at call time, [N].
    """

    of: Tensor
    count: int
    ids: Tensor | None = None

    @classmethod
    def consecutive(cls, size: int, examples_per_unit: int) -> Units:
        """Units of m consecutive examples."""
        return cls(torch.arange(size) // examples_per_unit, size // examples_per_unit)

    @classmethod
    def by_id(cls, ids: Tensor) -> Units:
        """The examples of one id; units in the order of their ids."""
        known, of = torch.unique(ids, return_inverse=True)
        return cls(of, len(known), ids)

    def kept(self, units: Tensor) -> tuple[Tensor, Units]:
        """The places of the examples of some units, in ascending order, and the units of what is left."""
        rows = torch.isin(self.of, units).nonzero().flatten()
        ids = None if self.ids is None else self.ids[rows]
        return rows, Units(torch.searchsorted(units, self.of[rows]), len(units), ids)


def units_of(batch: Batch, ids: Tensor | None, examples_per_unit: int) -> Units:
    """The units of a batch: those of ``ids`` where they are given, else consecutive ones."""
    return Units.consecutive(batch.size, examples_per_unit) if ids is None else Units.by_id(ids)


def all_finite(result: ClippedGradients) -> bool:
    """Whether nothing is infinite or NaN: then a sum is not, unless it overflows and each has to be looked at."""
    total = result.norms.sum() + result.losses.sum()
    return math.isfinite(total) or bool(torch.isfinite(result.norms).all() & torch.isfinite(result.losses).all())


def finite(result: ClippedGradients, units: Units) -> Tensor:
    """Whether the losses and the norms of each unit are finite, [units]."""
    ok = torch.isfinite(result.norms)
    ok = ok.all(1) if ok.dim() == 2 else ok
    sound = torch.isfinite(result.losses)
    if len(sound) == len(units.of):
        ok[units.of.to(ok.device)[~sound]] = False
        return ok
    return ok & sound


def refused(run: Run, batch: Batch, ids: Tensor | None, examples_per_unit: int) -> Outcome:
    """Runs a batch of which every unit is finite.

    Raises:
        NonFiniteExamples: where one is not; it names the examples of those units.
    """
    result, gradients = run(batch, ids)
    if not all_finite(result):
        units = units_of(batch, ids, examples_per_unit)
        ok = finite(result, units)
        bad = ~ok[units.of.to(ok.device)]
        raise NonFiniteExamples(torch.nonzero(bad).flatten().tolist(), batch.size)
    return result, gradients


def dropped(run: Run, batch: Batch, ids: Tensor | None, examples_per_unit: int) -> Outcome:
    """Runs a batch, then again those of its units that are finite, until all are.

    0·∞ is not 0, so an example that is not finite must not enter the sum at all. Its loss and the norm of its unit
    are returned as they were found, and the unit's clip factor is 0.
    """
    whole, gradients = run(batch, ids)
    if all_finite(whole):
        return whole, gradients
    units = units_of(batch, ids, examples_per_unit)
    ok = finite(whole, units)
    losses, norms, factors = whole.losses.clone(), whole.norms.clone(), torch.zeros_like(whole.clip_factors)
    kept, part = torch.arange(units.count), whole
    while not bool(ok.all()):
        kept = kept[ok.cpu()]
        rows, left = units.kept(kept.to(units.of.device))
        part, gradients = run(batch.rows(rows), left.ids)
        losses[rows if len(losses) == batch.size else kept] = part.losses
        norms[kept] = part.norms
        ok = finite(part, left)
    factors[kept] = part.clip_factors
    return replace(whole, losses=losses, norms=norms, clip_factors=factors), gradients
