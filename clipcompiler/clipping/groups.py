"""Clipping by group of parameters: every group has norms, factors and a bound of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clipcompiler.clipping.adaptive import AdaptiveQuantile
from clipcompiler.clipping.clipping import Clipping, Group
from clipcompiler.clipping.factors import Flat

__all__ = ["Group", "PerGroup", "PerLayer"]


class Grouped(Clipping):
    """Another clipping function, group by group."""

    how: Clipping

    @property
    def equation(self) -> str:
        """The formula, of the group's norms and bound."""
        return f"{self.how.equation}, by group"

    @property
    def expression(self) -> str:
        """The formula in torch."""
        return self.how.expression

    @property
    def own_function(self) -> Callable[[Tensor], Tensor] | None:
        """The other function's."""
        return self.how.own_function

    @property
    def called(self) -> Callable[[Tensor], Tensor] | None:
        """The user's function, of the norms [N, groups], a group at a time."""
        one = self.own_function
        return None if one is None else lambda norms: torch.stack([one(column) for column in norms.unbind(-1)], -1)

    @property
    def takes_infinity(self) -> bool:
        """As the other function."""
        return self.how.takes_infinity

    def factors(self, norms: Tensor, max_grad_norm: float | Tensor) -> Tensor:
        """The other function's, of norms [N, groups] and bounds [groups]."""
        bounds = torch.as_tensor(max_grad_norm, dtype=norms.dtype, device=norms.device).expand(norms.shape[-1])
        columns = zip(norms.unbind(-1), bounds, strict=True)
        return torch.stack([self.how.factors(column, bound) for column, bound in columns], -1)


@dataclass(frozen=True)
class PerLayer(Grouped):
    """Every module's own parameters are a group: ``fc1.weight`` and ``fc1.bias`` are clipped together.

    The bounds are equal, C_g = C/√G for G groups, so that the sum moves by C in all.

    Attributes:
        how: the function each group is clipped by.
    """

    how: Clipping = field(default_factory=Flat)

    def __post_init__(self) -> None:
        require_ungrouped(self.how)

    def groups(self, parameters: Sequence[str]) -> tuple[Group, ...]:
        """One group for each module that has parameters; one without any where there are none."""
        layers: dict[str, list[str]] = {} if parameters else {"(root)": []}
        for name in parameters:
            layers.setdefault(name.rpartition(".")[0] or "(root)", []).append(name)
        share = 1 / math.sqrt(len(layers))
        return tuple(Group(name, tuple(own), share) for name, own in layers.items())


@dataclass(frozen=True)
class PerGroup(Grouped):
    """Groups by name: ``PerGroup({"encoder": 0.5, "head": 1.0})``, C_g = C times the number given.

    A parameter belongs to the group with the longest name that is its own name or the beginning of it, up to a
    dot; ``"*"`` takes the rest.

    Attributes:
        bounds: for each group its bound, in units of ``max_grad_norm``.
        how: the function each group is clipped by.

    Raises:
        ValueError: where a bound is not above 0; at compile time where a parameter belongs to no group, or a
            group has no parameter.
    """

    bounds: Mapping[str, float]
    how: Clipping = field(default_factory=Flat)

    def __post_init__(self) -> None:
        require_ungrouped(self.how)
        wrong = [f"{name}: {bound}" for name, bound in self.bounds.items() if not 0 < bound < math.inf]
        if wrong or not self.bounds:
            raise ValueError(f"the bounds of groups must be numbers above 0, not {', '.join(wrong) or 'none at all'}")

    def groups(self, parameters: Sequence[str]) -> tuple[Group, ...]:
        """One group for each name given."""
        members: dict[str, list[str]] = {name: [] for name in self.bounds}
        for parameter in parameters:
            members[self.group_of(parameter)].append(parameter)
        empty = [name for name, own in members.items() if not own]
        if empty:
            raise ValueError(f"no trainable parameter belongs to the group {', '.join(empty)}")
        return tuple(Group(name, tuple(own), self.bounds[name]) for name, own in members.items())

    def group_of(self, parameter: str) -> str:
        """The longest name that a parameter's own name begins with."""
        fitting = [name for name in self.bounds if f"{parameter}.".startswith(f"{name}.")]
        if not fitting and "*" not in self.bounds:
            raise ValueError(
                f"the parameter {parameter} belongs to no group of PerGroup({dict(self.bounds)}): "
                'name its module, or give "*" for the rest'
            )
        return max(fitting, key=len) if fitting else "*"


def require_ungrouped(how: Clipping) -> None:
    """Groups within groups have no meaning, and one quantile is none of every group."""
    if isinstance(how, (Grouped, AdaptiveQuantile)):
        raise ValueError(f"groups cannot be clipped by {type(how).__name__}: give Flat, Automatic, Normalize, PSAC")
