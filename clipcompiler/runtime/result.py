"""What one call of a compiled step returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["ClippedGradients"]


@dataclass(frozen=True, slots=True)
class ClippedGradients:
    """Losses, norms and clip factors of one batch, detached. The clipped sum itself is in ``p.grad``.

    Attributes:
        losses: ℓ_n, [N].
        norms: ‖∇ℓ_n‖ over all trainable parameters, [N]; [N, groups] where parameters are clipped by group.
        clip_factors: c_n, [N] or [N, groups].
        groups: the names of the groups; ("",) where all parameters are clipped together.
    """

    losses: Tensor
    norms: Tensor
    clip_factors: Tensor
    groups: tuple[str, ...] = ("",)
