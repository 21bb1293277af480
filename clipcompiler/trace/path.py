"""op → the ops through which its value reaches the loss, in a few words."""

from __future__ import annotations

import operator
from collections import deque

import torch
from torch import fx

from clipcompiler.trace.source import op_name, origin_of

__all__ = ["path_to_loss", "short_name"]

aten = torch.ops.aten
#: Ops of which a reader learns nothing: they only move elements.
SILENT = (
    operator.getitem, aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default,
    aten.squeeze.dims, aten.expand.default, aten.clone.default, aten.detach.default, aten.alias.default,
    aten._to_copy.default, aten.permute.default, aten.transpose.int, aten.t.default, aten.numpy_T.default,
    aten.flatten.using_ints, aten.unflatten.int, aten.lift_fresh_copy.default, aten.slice.Tensor,
)  # fmt: skip
#: A longer path loses its middle.
STEPS = 5


def path_to_loss(node: fx.Node) -> str:
    """``mean → sub → linear (fc) → cross_entropy_loss``: the shortest way from a value to the loss, or ``""``."""
    named = [step_name(step) for step in shortest_way(node) if step is node or step.target not in SILENT]
    steps = [name for k, name in enumerate(named) if k == 0 or name != named[k - 1]]
    if len(steps) > STEPS:
        steps = [*steps[: STEPS - 2], "…", *steps[-2:]]
    return " → ".join(steps)


def shortest_way(node: fx.Node) -> list[fx.Node]:
    """The nodes from ``node`` to the one that the graph returns; [] where its value does not get there."""
    came_from: dict[fx.Node, fx.Node | None] = {node: None}
    left = deque([node])
    while left:
        reached = left.popleft()
        for user in reached.users:
            if user.op == "output":
                return backwards(reached, came_from)
            if user not in came_from:
                came_from[user] = reached
                left.append(user)
    return []


def backwards(node: fx.Node, came_from: dict[fx.Node, fx.Node | None]) -> list[fx.Node]:
    """The nodes that led to ``node``, the first one first."""
    way, step = [node], came_from[node]
    while step is not None:
        way.append(step)
        step = came_from[step]
    return way[::-1]


def step_name(node: fx.Node) -> str:
    """``linear (encoder.fc)``: the op, and the module that calls it."""
    module = origin_of(node).module_path
    return short_name(op_name(node)) + (f" ({module})" if module not in ("", "loss_fn") else "")


def short_name(op: str) -> str:
    """``aten.mean.dim`` → ``mean``; an op of the user's own keeps its library."""
    library, _, rest = op.partition(".")
    name = rest.partition(".")[0].strip("_").removeprefix("native_").removesuffix("_functional").removesuffix("_legit")
    return name if library in ("aten", "clipcompiler") and name else f"{library}.{name}" if name else op
