"""A value written where a mask is true → where.

    x[mask] = v, as index_put(x, [mask], v)  →  where(mask, v, x)

Only where v is one value for all the places, so that none depends on how many there are before it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from clipcompiler.trace.writer import Writer

__all__ = ["to_where"]

aten = torch.ops.aten


def to_where(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        if node.target is not aten.index_put.default or any(node.args[3:]) or node.kwargs:
            continue
        x, indices, value = node.args[:3]
        *skipped, mask = indices
        if any(skipped) or mask.meta["val"].dtype != torch.bool:
            continue
        behind = shape(x)[len(skipped) + len(shape(mask)) :]
        write = Writer(graph, node)
        one = of_every_place(write, value, len(behind))
        if one is None or one.meta["val"].dtype != x.meta["val"].dtype:
            continue
        for _ in behind:
            mask = write(aten.unsqueeze.default, mask, -1)
        node.replace_all_uses_with(write(aten.where.self, mask, one, x))


def of_every_place(write: Writer, value: fx.Node, behind: int) -> fx.Node | None:
    """The value without a dim of the places, where that has extent 1 or is absent."""
    sizes = shape(value)
    if len(sizes) <= behind:
        return value
    return write(aten.squeeze.dims, value, [0]) if len(sizes) == behind + 1 and is_one(sizes[0]) else None


def is_one(size: Any) -> bool:
    """Whether an extent is the number 1."""
    return isinstance(size, int) and size == 1


def shape(node: fx.Node) -> tuple[Any, ...]:
    """The shape of a node's value."""
    return tuple(node.meta["val"].shape)
