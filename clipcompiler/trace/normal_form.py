"""Rewrites of a traced graph to fewer kinds of ops, each with one output.

    _native_batch_norm_legit_no_training(x, W, b, μ, σ², …)[0] → batch_norm(x, W, b, μ, σ², training=False, …)
    native_dropout(x, p, True)[0]                              → dropout(x, p, True)
    squeeze(x), squeeze(x, dims)                               → squeeze(x, those dims of extent 1)

The last keeps a batch of one example a batch.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

__all__ = ["REWRITTEN", "to_normal_form"]

aten = torch.ops.aten

#: The ops that are rewritten.
REWRITTEN = (
    aten._native_batch_norm_legit_no_training.default, aten.native_dropout.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
)  # fmt: skip


def to_normal_form(graph: fx.Graph) -> None:
    """Applies the rewrites in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten._native_batch_norm_legit_no_training.default:
            x, weight, bias, mean, var, momentum, eps = node.args
            args = (x, weight, bias, mean, var, False, momentum, eps, False)
            replace_first_output(graph, node, aten.batch_norm.default, args)
        elif node.target is aten.native_dropout.default:
            replace_first_output(graph, node, aten.dropout.default, (node.args[0], node.args[1], True))
        elif node.target in (aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims):
            x, ones = node.args[0], squeezed_dims(node)
            if ones:
                node.target, node.args = aten.squeeze.dims, (x, ones)
            else:
                node.replace_all_uses_with(x)


def squeezed_dims(node: fx.Node) -> list[int]:
    """The dims that a squeeze removes whatever the batch size: those asked for whose extent is the number 1."""
    shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
    asked = node.args[1] if len(node.args) > 1 else list(range(len(shape)))
    dims = [asked] if isinstance(asked, int) else list(asked)  # type: ignore[arg-type]
    return [d % len(shape) for d in dims if isinstance(shape[d], int) and shape[d] == 1]


def replace_first_output(graph: fx.Graph, node: fx.Node, target: Any, args: tuple[Any, ...]) -> None:
    """op(…)[0] → target(*args), where nothing reads the other outputs."""
    outputs = list(node.users)
    if not all(u.target is operator.getitem and u.args[1] == 0 for u in outputs):
        return
    with graph.inserting_before(node):
        made = graph.call_function(target, args)
    made.meta = {**node.meta, "val": node.meta["val"][0]}
    for user in outputs:
        user.replace_all_uses_with(made)
