"""One way to compute a clipped step of one model on one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Method", "NotOffered", "Prepare", "clip_factors", "trained"]

LossFunction = Callable[[Tensor, Tensor], Tensor]


class NotOffered(Exception):
    """The library leaves out something that this model needs, and says so in another way than by an exception."""


@dataclass(frozen=True, slots=True)
class Method:
    """A step that is ready to run.

    Attributes:
        step: adds Σ_n min(1, C/‖∇ℓ_n‖) ∇ℓ_n to ``p.grad``, and returns the norms [N] where the method has them.
        model: the module whose ``p.grad`` that is: the one given, or what a library makes of it.
        plain: the same without the library's hooks, where that is another module than the one given: an oracle for it.
        note: what a user of the library has to do, or loses.
    """

    step: Callable[[], Tensor | None]
    model: nn.Module
    plain: nn.Module | None = None
    note: str = ""


#: model, loss, inputs, targets, C → a method; raises where the library cannot do the model.
Prepare = Callable[[nn.Module, LossFunction, Tensor, Tensor, float], Method]


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that get a gradient."""
    return [p for p in model.parameters() if p.requires_grad]


def clip_factors(norms: Tensor, max_grad_norm: float) -> Tensor:
    """c_n = min(1, C / ‖∇ℓ_n‖)."""
    return (max_grad_norm / (norms + 1e-12)).clamp(max=1.0)
