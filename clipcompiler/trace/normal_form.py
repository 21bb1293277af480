"""Rewrites of a traced graph to fewer kinds of ops, each with one output.

    _native_batch_norm_legit_no_training(x, W, b, μ, σ², …)[0] → batch_norm(x, W, b, μ, σ², training=False, …)
    native_dropout(x, p, training)[0]                          → dropout(x, p, training)
    squeeze(x), squeeze(x, dims)                               → squeeze(x, those dims of extent 1)
    repeat_interleave(x, r, dim), repeat(x, [1, r, 1]) with examples in dim
                                                               → reshape(expand(unsqueeze(x)))

The third keeps a batch of one example a batch; the last shows where each example is repeated to.
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
            replace_first_output(graph, node, aten.dropout.default, (*node.args[:2], node.args[2] is not False))
        elif node.target in (aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims):
            x, ones = node.args[0], squeezed_dims(node)
            if ones:
                node.target, node.args = aten.squeeze.dims, (x, ones)
            else:
                node.replace_all_uses_with(x)
        elif (repeated := repeated_examples(node)) is not None:
            spread(graph, node, *repeated)


def squeezed_dims(node: fx.Node) -> list[int]:
    """The dims that a squeeze removes whatever the batch size: those asked for whose extent is the number 1."""
    shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
    asked = node.args[1] if len(node.args) > 1 else list(range(len(shape)))
    dims = [asked] if isinstance(asked, int) else list(asked)  # type: ignore[arg-type]
    return [d % len(shape) for d in dims if isinstance(shape[d], int) and shape[d] == 1]


def repeated_examples(node: fx.Node) -> tuple[int, int, bool] | None:
    """Where a node repeats one dim: that dim, how often, and whether each element by itself.

    ``repeat_interleave`` of any dim, ``repeat`` of one alone whose extent is a symbol.
    """
    if node.target is aten.repeat_interleave.self_int and len(node.args) > 2 and node.args[2] is not None:
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        times, dim = node.args[1], node.args[2]
        return (dim % len(shape), times, True) if isinstance(times, int) and isinstance(dim, int) else None
    if node.target is aten.repeat.default:
        shape = node.args[0].meta["val"].shape  # type: ignore[union-attr]
        numbers: Any = node.args[1]
        more = [d for d, r in enumerate(numbers) if r != 1]
        if len(more) == 1 and len(numbers) == len(shape) and isinstance(shape[more[0]], torch.SymInt):
            return (more[0], numbers[more[0]], False) if isinstance(numbers[more[0]], int) else None
    return None


def spread(graph: fx.Graph, node: fx.Node, dim: int, times: int, each: bool) -> None:
    """repeat_interleave(x, r, dim) → x[…, s, 1, …] → […, s, r, …] → […, s·r, …]; repeat has r before s."""
    x, at = node.args[0], dim + 1 if each else dim
    shape = list(x.meta["val"].shape)  # type: ignore[union-attr]

    def made(target: Any, *args: Any) -> fx.Node:
        new = graph.call_function(target, args)
        new.meta = {**node.meta, "val": target(args[0].meta["val"], *values(args[1:]))}
        return new

    with graph.inserting_before(node):
        sizes = [
            graph.call_function(aten.sym_size.int, (x, d)) if isinstance(s, torch.SymInt) else s
            for d, s in enumerate(shape)
        ]
        for size, value in zip(sizes, shape, strict=True):
            if isinstance(size, fx.Node):
                size.meta = {"val": value}
        apart = [*sizes[:at], times, *sizes[at:]]
        total = graph.call_function(operator.mul, (sizes[dim], times))
        total.meta = {"val": shape[dim] * times}
        expanded = made(aten.expand.default, made(aten.unsqueeze.default, x, at), apart)
        regrouped = made(aten.reshape.default, expanded, [*sizes[:dim], total, *sizes[dim + 1 :]])
    node.replace_all_uses_with(regrouped)


def values(arguments: Any) -> Any:
    """Arguments with the sizes that nodes stand for."""
    return fx.map_arg(arguments, lambda node: node.meta["val"])


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
