"""transpose, permute, unsqueeze, squeeze → the dims of the argument, in the order of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import fx

__all__ = ["MOVING", "order_of", "traced_back"]

aten = torch.ops.aten

#: Ops that move dims, and those that add or drop one of extent 1.
MOVING = (aten.transpose.int, aten.permute.default)
UNSQUEEZE, SQUEEZE = (aten.unsqueeze.default,), (aten.squeeze.dim, aten.squeeze.dims)


def order_of(node: fx.Node) -> list[int]:
    """The dims of the argument of a transpose or a permute, in the order of the result."""
    rank, given = len(node.meta["val"].shape), cast("tuple[Any, ...]", node.args)
    if node.target is aten.permute.default:
        return [dim % rank for dim in given[1]]
    order = list(range(rank))
    a, b = (dim % rank for dim in given[1:])
    order[a], order[b] = order[b], order[a]
    return order


def traced_back(node: fx.Node) -> tuple[fx.Node, list[int | None]]:
    """The value whose dims are moved, and which of its dims is each of the result's; ``None`` for one that was added.

    The value is the node itself where no dim is moved, and where one is dropped that was not added.
    """
    chain, below = [], node
    while below.target in (*MOVING, *UNSQUEEZE, *SQUEEZE):
        chain.append(below)
        below = cast("fx.Node", below.args[0])
    dims: list[int | None] = list(range(len(below.meta["val"].shape)))
    for op in reversed(chain):
        if op.target in MOVING:
            dims = [dims[dim] for dim in order_of(op)]
        elif op.target in UNSQUEEZE:
            dims.insert(cast("int", op.args[1]) % (len(dims) + 1), None)
        else:
            dropped = dropped_by(op, len(dims))
            if any(dims[dim] is not None for dim in dropped):
                return node, list(range(len(node.meta["val"].shape)))
            dims = [x for dim, x in enumerate(dims) if dim not in dropped]
    return below, dims


def dropped_by(squeeze: fx.Node, rank: int) -> Sequence[int]:
    """The dims that a squeeze drops, if their extent is 1: those that were added are."""
    given = cast("Any", squeeze.args[1])
    return [dim % rank for dim in (given if isinstance(given, (list, tuple)) else [given])]
