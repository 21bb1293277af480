"""What one call of a compiled step returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["ClippedGradients"]


@dataclass(frozen=True, slots=True)
class ClippedGradients:
    """Losses, norms and clip factors of one batch, detached. The clipped sum itself is in ``p.grad``.

    Where units of several examples are clipped, norms and clip factors are those of the units.

    Attributes:
        losses: ℓ_n, [N].
        norms: ‖∇ℓ_n‖ over all trainable parameters, [N]; [N, groups] where parameters are clipped by group.
        clip_factors: c_n, [N] or [N, groups].
        units: the ids of the units that norms and clip factors belong to, in order, where ``unit_ids`` were given.
        groups: the names of the groups; ("",) where all parameters are clipped together.
        updates: the new values of the buffers that the forward updates, by name; a call of the step has written them.
    """

    losses: Tensor
    norms: Tensor
    clip_factors: Tensor
    groups: tuple[str, ...] = ("",)
    units: Tensor | None = None
    updates: Mapping[str, Tensor] = field(default_factory=dict)
