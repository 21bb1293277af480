"""Examples whose loss or gradient is not finite: refused by name, or left out of the sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clipcompiler.errors import NonFiniteExamples
from clipcompiler.runtime.batch import Batch
from clipcompiler.runtime.result import ClippedGradients

__all__ = ["dropped", "refused"]

#: What a program gives: the result, and the clipped sums by name.
Outcome = tuple[ClippedGradients, dict[str, Tensor]]


def finite(result: ClippedGradients) -> Tensor:
    """Whether the loss and the norm of each example are finite, [N]."""
    return torch.isfinite(result.norms) & torch.isfinite(result.losses)


def refused(run: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
    """Runs a batch of which every example is finite.

    Raises:
        NonFiniteExamples: where one is not; it names them.
    """
    result, gradients = run(batch)
    ok = finite(result)
    if not bool(ok.all()):
        raise NonFiniteExamples(torch.nonzero(~ok).flatten().tolist(), len(ok))
    return result, gradients


def dropped(run: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
    """Runs a batch, then again those of its examples that are finite, until all are.

    0·∞ is not 0, so an example that is not finite must not enter the sum at all. Its loss and its norm are
    returned as they were found, and its clip factor is 0.
    """
    whole, gradients = run(batch)
    ok = finite(whole)
    if bool(ok.all()):
        return whole, gradients
    losses, norms, factors = whole.losses.clone(), whole.norms.clone(), torch.zeros_like(whole.clip_factors)
    kept = torch.arange(batch.size, device=ok.device)
    while not bool(ok.all()):
        kept = kept[ok]
        part, gradients = run(batch.rows(kept))
        losses[kept], norms[kept] = part.losses, part.norms
        ok = finite(part)
    factors[kept] = part.clip_factors
    return ClippedGradients(losses, norms, factors), gradients
