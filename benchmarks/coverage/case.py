"""One model of the sweep: how to build it, with what loss, on what examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["EXAMPLES", "PARAMETERS", "Built", "Case", "NotBuilt", "nothing_dropped"]

#: Examples of a batch, and the most parameters of a model that is looked at.
EXAMPLES, PARAMETERS = 3, 140_000_000


class NotBuilt(Exception):
    """The model could not be made small, or does not run by itself."""


@dataclass(slots=True)
class Built:
    """A model ready to be examined.

    Attributes:
        model: the model, in the mode it is to be examined in.
        loss_fn: losses [N] from output and target.
        batch: its inputs, then the target.
        notes: what was set that is not the default.
    """

    model: nn.Module
    loss_fn: Callable[[Any, Tensor], Tensor]
    batch: tuple[Tensor, ...]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One model of the sweep, by name: library/task/type; ``build`` raises ``NotBuilt``."""

    name: str
    build: Callable[[], Built]


def nothing_dropped(model: nn.Module) -> None:
    """Sets every probability of dropping something to 0: a loop over examples would draw other numbers."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and "drop" in name:
                setattr(module, name, 0.0)


def run_once(built: Built) -> None:
    """The losses of the batch, once.

    Raises:
        NotBuilt: where the model does not run, or not to N finite losses.
    """
    count = sum(p.numel() for p in built.model.parameters())
    if count > PARAMETERS:
        raise NotBuilt(f"{count / 1e6:.0f} M parameters, more than {PARAMETERS / 1e6:.0f} M")
    with torch.no_grad():
        losses = built.loss_fn(built.model(*built.batch[:-1]), built.batch[-1])
    if tuple(losses.shape) != (EXAMPLES,) or not bool(losses.isfinite().all()):
        raise NotBuilt(f"its losses are {losses.tolist()}")
