"""The first or last row of each example at which a mask is true → a sum over one row.

    x[mask].view(N, −1, …)[:, j]  →  Σ_t where(mask[n,t] ∧ (Σ_{u≤t} mask[n,u] = 1 or Σ_u mask[n,u]), x[n,t], 0)

j is 0 for the first, −1 for the last. The list x[mask] has no dim of examples: whose a row is depends on how many the
others have. The model relies on as many for each; what it then picks is a row of the example's own, which is what the
right side says of any example that has one. One that has none, where a batch of it alone would raise, is given NaN,
so that the step names it as not finite.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from clipcompiler.trace.flow import viewed
from clipcompiler.trace.writer import Writer

__all__ = ["to_one_row"]

aten = torch.ops.aten


def to_one_row(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        if node.target is not aten.select.int or node.args[1:] not in ((1, 0), (1, -1)):
            continue
        picked = rows_by_mask(viewed(node.args[0]))
        if picked is not None:
            node.replace_all_uses_with(row(Writer(graph, node), *picked, last=node.args[2] == -1))


def rows_by_mask(view: Any) -> tuple[fx.Node, fx.Node] | None:
    """x [N, T, …] and mask [N, T], where a node is x[mask].view(N, −1, …)."""
    if not isinstance(view, fx.Node) or view.target not in (aten.view.default, aten.reshape.default):
        return None
    index: Any = view.args[0]
    if index.target is not aten.index.Tensor or len(index.args[1]) != 1:
        return None
    x, (mask,) = index.args
    shape, of_mask, made = (list(n.meta["val"].shape) for n in (x, mask, view))
    same = len(made) == len(shape) and str(made[0]) == str(shape[0]) and made[2:] == shape[2:]
    return (x, mask) if same and mask.meta["val"].dtype == torch.bool and len(of_mask) == 2 else None


def row(write: Writer, x: fx.Node, mask: fx.Node, *, last: bool) -> fx.Node:
    """The row of each example, [N, …]."""
    count = write(aten.cumsum.default, mask, 1)
    total = write(aten.sum.dim_IntList, mask, [1], True)
    found = write(aten.eq.Tensor, count, total) if last else write(aten.eq.Scalar, count, 1)
    place, none = write(aten.logical_and.default, mask, found), write(aten.eq.Scalar, total, 0)
    none = write(aten.squeeze.dims, none, [1])
    for _ in x.meta["val"].shape[2:]:
        place, none = write(aten.unsqueeze.default, place, -1), write(aten.unsqueeze.default, none, -1)
    zeros = write(aten.zeros_like.default, x)
    value = write(aten.sum.dim_IntList, write(aten.where.self, place, x, zeros), [1])
    return write(aten.masked_fill.Scalar, value, none, math.nan)
