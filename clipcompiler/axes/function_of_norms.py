"""f: norms [N] → factors [N], proven to treat every norm by itself; or a refusal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from clipcompiler.axes import analyse
from clipcompiler.dsl import RuleSet
from clipcompiler.errors import CompileError, UnsupportedLoss
from clipcompiler.trace import trace

__all__ = ["prove_apart"]


class OfNorms(nn.Module):
    """A function of the norms as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, norms: Tensor) -> Tensor:
        """The factors."""
        return self.function(norms)


def prove_apart(function: Callable[[Tensor], Tensor] | None, rules: RuleSet) -> None:
    """The axis analysis of a user's clipping function: one norm must not change another example's factor.

    Raises:
        CompileError: where the function mixes examples, cannot be traced, or does not return N factors.
    """
    if function is None:
        return
    norms = torch.ones(2)
    try:
        traced = trace(OfNorms(function), None, (norms,))
        if traced.shape(traced.loss) == ():
            raise UnsupportedLoss("it returns one number", origin=traced.origin(traced.loss))
        analyse(traced, rules)
    except CompileError as error:
        raise type(error)(
            f"the clipping function: {error.reason}",
            origin=error.origin,
            remedy="return one factor for each norm, each from its own norm alone",
        ) from error
