"""x[0], …, x[K−1] along one dim, each of its rows  →  unbind(x)

Behind a select stands a backward pass that writes zeros for all other rows and adds; behind an unbind each row is
written once. ``nn.MultiheadAttention`` takes its queries, keys and values so.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Collection

import torch
from torch import fx

from clipcompiler.trace.flow import users_of, viewed
from clipcompiler.trace.writer import Writer

__all__ = ["to_unbind"]

aten = torch.ops.aten

#: Rows of one dim by number, each with the nodes that select it.
Rows = dict[int, list[fx.Node]]


def to_unbind(graph: fx.Graph, parameters: Collection[str], inputs: Collection[str]) -> None:
    """Applies the rewrite in place to what a backward pass goes through; the replaced nodes are left without users.

    ``parameters`` and ``inputs`` are names of placeholders. A row of a function of parameters alone stays a select: it
    is a use of its own.
    """
    given = [node for node in graph.nodes if node.op == "placeholder"]
    of_parameters, of_inputs = (users_of(n for n in given if n.name in names) for names in (parameters, inputs))
    selected: dict[tuple[fx.Node, int], Rows] = defaultdict(lambda: defaultdict(list))
    for node in graph.nodes:
        if node.target is aten.select.int and node in of_parameters and node in of_inputs:
            x, (dim, row) = viewed(node.args[0]), node.args[1:]
            shape = x.meta["val"].shape
            if isinstance(row, int) and isinstance(shape[dim], int):
                selected[x, dim % len(shape)][row % shape[dim]].append(node)
    for (x, dim), rows in selected.items():
        if 1 < len(rows) == x.meta["val"].shape[dim]:
            unbind(graph, dim, rows)


def unbind(graph: fx.Graph, dim: int, rows: Rows) -> None:
    """Gives the users of each row that row of one unbind, written where the first was selected."""
    selects = {node for nodes in rows.values() for node in nodes}
    first = next(node for node in graph.nodes if node in selects)
    x = viewed(first.args[0])  # by now perhaps a row of another unbind
    together = Writer(graph, first)(aten.unbind.int, x, dim)
    for row, nodes in rows.items():
        for node in nodes:
            node.replace_all_uses_with(Writer(graph, node)(operator.getitem, together, row, value=node.meta["val"]))
