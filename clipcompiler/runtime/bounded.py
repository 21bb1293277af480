"""What bounds the contribution of an example: C, the clipping function, and the sensitivity they make."""

from __future__ import annotations

import math

from torch import nn

from clipcompiler.clipping import Clipping, Sensitivity
from clipcompiler.runtime.compilation import Loss, modules_of, named

__all__ = ["Bounded"]


class Bounded:
    """C, and how the factors follow from it."""

    model: nn.Module
    loss_fn: Loss | None
    _clipping: Clipping
    _max_grad_norm: float

    @property
    def clipping(self) -> Clipping:
        """What the clip factors follow from; fixed when the step is made."""
        return self._clipping

    @property
    def max_grad_norm(self) -> float:
        """C, the bound on every example's contribution; may be set at any time.

        Raises:
            ValueError: for NaN or a negative number.
        """
        return self._max_grad_norm

    @max_grad_norm.setter
    def max_grad_norm(self, value: float) -> None:
        number = float(value)
        if math.isnan(number) or number < 0:
            raise ValueError(f"max_grad_norm is {value}: give a number ≥ 0 (or math.inf for no clipping)")
        if math.isinf(number) and not self.clipping.takes_infinity:
            raise ValueError(f"max_grad_norm is {value}, which {type(self.clipping).__name__} would scale gradients to")
        self._max_grad_norm = number

    @property
    def sensitivity(self) -> Sensitivity:
        """How far the clipped sum can move when one example (or unit) is added, taken away or replaced.

        Raises:
            ValueError: where the clipping leaves a parameter without a group.
        """
        parameters = named(modules_of(self.model, self.loss_fn), lambda root: root.named_parameters())
        trainable = [name for name, p in parameters.items() if p.requires_grad]
        return self.clipping.sensitivity(self._max_grad_norm, self.clipping.groups(trainable))
