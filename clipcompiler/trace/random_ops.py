"""node → whether it draws random numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

__all__ = ["draws"]

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default


def draws(node: fx.Node) -> bool:
    """Whether an op draws random numbers; attention bears the tag and draws for its dropout alone."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    return node.target is not ATTENTION or dropout_of(node) != 0


def dropout_of(attention: fx.Node) -> Any:
    """The dropout of a call of scaled dot-product attention."""
    return attention.args[4] if len(attention.args) > 4 else attention.kwargs.get("dropout_p", 0)
