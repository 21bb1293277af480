"""node → whether it draws random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

__all__ = ["call_draws", "draws"]


def draws(node: fx.Node) -> bool:
    """Whether an op draws random numbers."""
    return call_draws(node.target, node.args, node.kwargs)


def call_draws(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of an op does: it bears the tag, and is not called with a dropout of 0 or in eval mode."""
    if torch.Tag.nondeterministic_seeded not in getattr(op, "tags", ()):
        return False
    schema = op._schema.arguments
    named = {**{a.name: v for a, v in zip(schema, args, strict=False)}, **kwargs}
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    dropout = next((k for k in ("dropout_p", "dropout") if k in {a.name for a in schema}), None)
    if dropout is None:
        return True
    return {**defaults, **named}[dropout] != 0 and named.get("train", True) is not False
