"""Nodes that take the place of one node."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

__all__ = ["Writer"]


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes nodes before one that they replace, with its place in the user's program."""

    graph: fx.Graph
    node: fx.Node

    def __call__(self, target: Any, *args: Any, value: Any = None) -> fx.Node:
        """One call, its value found from those of its arguments where it is not given."""
        with self.graph.inserting_before(self.node):
            made = self.graph.call_function(target, args)
        if value is None:
            with torch.no_grad():
                value = target(*fx.node.map_arg(args, lambda a: a.meta["val"]))
        made.meta = {**self.node.meta, "val": value}
        return made

    def outputs(self, made: fx.Node) -> list[fx.Node]:
        """The values of an op of several."""
        return [self(operator.getitem, made, k, value=value) for k, value in enumerate(made.meta["val"])]
