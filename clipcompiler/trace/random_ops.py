"""node → whether it draws random numbers."""

from __future__ import annotations

import torch
from torch import fx

__all__ = ["draws"]


def draws(node: fx.Node) -> bool:
    """Whether an op draws random numbers: it bears the tag, and is not called with a dropout of 0 or in eval mode."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    named = {**{a.name: v for a, v in zip(schema, node.args, strict=False)}, **node.kwargs}
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    dropout = next((k for k in ("dropout_p", "dropout") if k in {a.name for a in schema}), None)
    if dropout is None:
        return True
    return {**defaults, **named}[dropout] != 0 and named.get("train", True) is not False
