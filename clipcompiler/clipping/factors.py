"""The clipping functions of the literature, and any function of the norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clipcompiler.clipping.clipping import Clipping, rounded_down

__all__ = ["NEGLIGIBLE", "PSAC", "Automatic", "Flat", "Function", "Normalize"]

#: Norms below this are taken as 0 where the factor grows without bound: their squares are lost in float32.
NEGLIGIBLE = 1e-15


@dataclass(frozen=True, slots=True)
class Flat(Clipping):
    """c = min(1, C/‖g‖)  (Abadi et al., CCS 2016)."""

    @property
    def takes_infinity(self) -> bool:
        """c = 1 then."""
        return True

    @property
    def equation(self) -> str:
        """The formula."""
        return "c_n = min(1, C/‖∇ℓ_n‖)"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return "(bound / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1.0)"

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """min(1, C/‖g‖), 1 for a gradient of zero."""
        return (rounded_down(max_grad_norm, norms) / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1.0)


@dataclass(frozen=True, slots=True)
class Automatic(Clipping):
    """c = C/(‖g‖ + γ)  (Bu et al., NeurIPS 2023). Every contribution is below C.

    Attributes:
        gamma: γ > 0, in the unit of the norms.

    Raises:
        ValueError: where γ is not positive.
    """

    gamma: float = 0.01

    def __post_init__(self) -> None:
        require_positive("gamma", self.gamma)

    @property
    def equation(self) -> str:
        """The formula."""
        return f"c_n = C/(‖∇ℓ_n‖ + {self.gamma})"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return f"bound / (norms + {self.gamma!r})"

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """C/(‖g‖ + γ)"""
        return rounded_down(max_grad_norm, norms) / (norms + self.gamma)


@dataclass(frozen=True, slots=True)
class Normalize(Clipping):
    """c = C/‖g‖: every gradient is scaled to the norm C (Das et al. 2021; Yang et al. 2022).

    A gradient of zero, or one below 1e-15, contributes nothing.
    """

    @property
    def equation(self) -> str:
        """The formula."""
        return "c_n = C/‖∇ℓ_n‖, 0 where the gradient is 0"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return f"torch.where(norms > {NEGLIGIBLE}, bound / norms, 0.0)"

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """C/‖g‖, 0 for a gradient of zero."""
        return torch.where(norms > NEGLIGIBLE, rounded_down(max_grad_norm, norms) / norms, 0.0)


@dataclass(frozen=True, slots=True)
class PSAC(Clipping):
    """c = C/(‖g‖ + r/(‖g‖ + r)): small gradients are not blown up (Xia et al., AAAI 2023).

    Attributes:
        r: the smoothing, in the unit of the norms.

    Raises:
        ValueError: where r is not positive.
    """

    r: float = 0.1

    def __post_init__(self) -> None:
        require_positive("r", self.r)

    @property
    def equation(self) -> str:
        """The formula."""
        return f"c_n = C/(‖∇ℓ_n‖ + r/(‖∇ℓ_n‖ + r)), r = {self.r}"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return f"bound / (norms + {self.r!r} / (norms + {self.r!r}))"

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """C/(‖g‖ + r/(‖g‖ + r))"""
        return rounded_down(max_grad_norm, norms) / (norms + self.r / (norms + self.r))


@dataclass(frozen=True, slots=True)
class Function(Clipping):
    """c = f(‖g‖), cut to |c|‖g‖ ≤ C: whatever f returns, no example contributes more than C.

    With ``max_grad_norm=math.inf`` nothing is cut, and the sensitivity is infinite.

    Attributes:
        function: from norms [N] to factors [N]; it must treat every norm by itself, which is proven as it is for
            the model: ``norms / norms.max()`` is refused.
    """

    function: Callable[[Tensor], Tensor]

    @property
    def own_function(self) -> Callable[[Tensor], Tensor]:
        """The function."""
        return self.function

    @property
    def takes_infinity(self) -> bool:
        """Nothing is cut then."""
        return True

    @property
    def equation(self) -> str:
        """The formula."""
        return f"c_n = {getattr(self.function, '__name__', 'f')}(‖∇ℓ_n‖), cut to |c_n| ≤ C/‖∇ℓ_n‖"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return "within(clipping(norms), bound / norms.clamp(min=torch.finfo(norms.dtype).tiny))"

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """f(‖g‖), cut to ±C/‖g‖."""
        most = rounded_down(max_grad_norm, norms) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
        return torch.minimum(torch.maximum(self.function(norms), -most), most)


def require_positive(name: str, value: float) -> None:
    """Raises for a number that is not above 0."""
    if not value > 0:
        raise ValueError(f"{name} is {value}: give a number above 0")
