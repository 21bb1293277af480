"""graph → which values flow into which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx
import torch
from torch import fx

__all__ = ["sources_of", "users_of", "viewed"]

#: Start and end of a slice that takes a whole dim.
WHOLE = (0, 2**63 - 1)


def sources_of(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes, and every node that their values are computed from."""
    wanted = set(nodes)
    if not wanted:
        return set()
    graph = next(iter(wanted)).graph
    flow = nx.DiGraph((source, node) for node in graph.nodes for source in node.all_input_nodes)
    return wanted.union(*(nx.ancestors(flow, node) for node in wanted if node in flow))


def users_of(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes, and every node that is computed from them."""
    reached: set[fx.Node] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in reached:
            reached.add(node)
            pending += node.users
    return reached


def viewed(node: Any) -> Any:
    """The view of which a node is the whole."""
    while isinstance(node, fx.Node) and node.target is torch.ops.aten.slice.Tensor and node.args[2:] == WHOLE:
        node = node.args[0]
    return node
