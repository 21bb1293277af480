"""What every clipping function states: its formula, its groups of parameters, its sensitivity."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipcompiler.clipping.sensitivity import Sensitivity

__all__ = ["Clipping", "Group"]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are clipped together.

    Attributes:
        name: what the group is called; "" where it is the only one.
        parameters: the names of its parameters.
        share: its bound as a share of ``max_grad_norm``.
    """

    name: str
    parameters: tuple[str, ...]
    share: float = 1.0


class Clipping(ABC):
    """‖g[n]‖ → c[n], with c[n]‖g[n]‖ ≤ C for every example, whatever its gradient."""

    @property
    @abstractmethod
    def equation(self) -> str:
        """c_n as it is written: ``c_n = min(1, C/‖∇ℓ_n‖)``."""

    @property
    @abstractmethod
    def expression(self) -> str:
        """c_n as torch, of the tensors ``norms`` and ``bound`` (C, rounded down)."""

    @abstractmethod
    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """c_n for norms of any shape: the same as ``expression``, for oracles and tests."""

    @property
    def own_function(self) -> Callable[[Tensor], Tensor] | None:
        """The user's own function, from norms [N] to factors [N], if there is one."""
        return None

    @property
    def called(self) -> Callable[[Tensor], Tensor] | None:
        """What ``expression`` calls as ``clipping``, of norms of the program's shape."""
        return self.own_function

    @property
    def takes_infinity(self) -> bool:
        """Whether C may be infinite, which means no clipping."""
        return False

    def groups(self, parameters: Sequence[str]) -> tuple[Group, ...]:
        """The groups that are clipped apart: all parameters together, if nothing else is said."""
        return (Group("", tuple(parameters)),)

    def sensitivity(self, max_grad_norm: float, groups: Sequence[Group]) -> Sensitivity:
        """How far the clipped sum can move: √Σ C_g², over the groups' bounds C_g."""
        bound = max_grad_norm * math.sqrt(sum(group.share**2 for group in groups))
        return Sensitivity(bound, 2 * bound)

    def updated(self, max_grad_norm: float, norms: Tensor) -> float:
        """C for the next step: the same, if nothing else is said."""
        return max_grad_norm


def rounded_down(bound: float | Tensor, like: Tensor) -> float | Tensor:
    """C as programs use it: two roundings below, so that neither it nor the quotient is rounded above C."""
    return bound * (1 - 2 * torch.finfo(like.dtype).eps)
