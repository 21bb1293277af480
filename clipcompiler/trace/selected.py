"""select(clone(x with dim d moved to k), k, i)  →  select(x, d, i), where the other dims keep their order

    [T, N, 3, D] → [1, T, N, 3, D] → [3, T, N, 1, D] → [3, T, N, D] → its row 1  =  [T, N, 3, D] → [T, N, D]

``nn.MultiheadAttention`` takes its queries, keys and values apart so, and copies them; in the backward pass once more.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import fx

from clipcompiler.trace.moves import traced_back
from clipcompiler.trace.writer import Writer

__all__ = ["to_one_select"]

aten = torch.ops.aten

COPIES = (aten.clone.default, aten.contiguous.default)


def to_one_select(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        if node.target is aten.select.int:
            found = selected(*cast("tuple[fx.Node, int, int]", node.args))
            if found is not None:
                node.replace_all_uses_with(Writer(graph, node)(aten.select.int, *found))


def selected(copied: fx.Node, dim: int, row: int) -> tuple[fx.Node, int, int] | None:
    """What is selected, of what was copied with its dims moved: the value, its dim and the row."""
    if copied.target not in COPIES:
        return None
    x, dims = traced_back(cast("fx.Node", copied.args[0]))
    dim %= len(dims)
    taken, others = dims[dim], dims[:dim] + dims[dim + 1 :]
    if taken is None or others != [of for of in range(len(x.meta["val"].shape)) if of != taken]:
        return None
    return x, taken, row
