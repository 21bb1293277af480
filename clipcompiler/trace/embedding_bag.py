"""Bags of rows → rows, then their sum, mean or maximum.

    embedding_bag(W, i.view(−1), arange(0, N·S, S), mode)[0] → Σ_s, mean_s or max_s of embedding(W, i[n,s]) w[n,s]

Only bags of one size, a row of a matrix of indices each, are rewritten: there every example has its own. Bags that
offsets cut out of one long list have no dim of examples. What is padding counts neither in a sum nor in a mean.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from clipcompiler.trace.recurrent import Writer

__all__ = ["REWRITTEN", "to_rows"]

aten = torch.ops.aten
#: The ops that are rewritten.
REWRITTEN = (aten.embedding_bag.default, aten.embedding_bag.padding_idx, aten._embedding_bag.default)
SUM, MEAN, MAX = range(3)
#: The arguments of ``embedding_bag`` behind the offsets, and what they are if not given.
DEFAULTS = (False, SUM, False, None, False, None)


def to_rows(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        if node.target not in REWRITTEN or node.kwargs:
            continue
        arguments: tuple[Any, ...] = (*node.args, *DEFAULTS[len(node.args) - 3 :])
        weight, flat, offsets, _, mode, _, weights, last, number = arguments
        padding = None if number is None or number < 0 else number
        indices, size = matrix_of(flat), step_of(offsets)
        if indices is None or size != indices.meta["val"].shape[1] or last:
            continue
        if length(node.meta["val"][0]) != length(indices.meta["val"]):  # fewer bags: the last one has more rows
            continue
        if (mode == MAX and padding is not None) or any(u.args[1] != 0 for u in node.users):
            continue
        write = Writer(graph, node)
        value = bag(write, weight, indices, mode, weights, padding)
        for user in list(node.users):
            user.replace_all_uses_with(value)


def bag(write: Writer, weight: fx.Node, indices: fx.Node, mode: int, weights: Any, padding: int | None) -> fx.Node:
    """The rows of every bag, reduced."""
    rows = write(aten.embedding.default, weight, indices, -1 if padding is None else padding)
    if mode == MAX:
        return write.outputs(write(aten.max.dim, rows, 1))[0]
    kept = None if padding is None else write(aten.ne.Scalar, indices, padding)
    factors = [f for f in (kept, None if weights is None else matrix_of(weights)) if f is not None]
    for factor in factors:
        rows = write(aten.mul.Tensor, rows, write(aten.unsqueeze.default, factor, 2))
    if mode == MEAN and kept is not None:
        count = write(aten.clamp.default, write(aten.sum.dim_IntList, kept, [1], True), 1)
        return write(aten.div.Tensor, write(aten.sum.dim_IntList, rows, [1]), count)
    return write(aten.mean.dim if mode == MEAN else aten.sum.dim_IntList, rows, [1])


def matrix_of(flat: Any) -> fx.Node | None:
    """i[n,s], of which a node is i.view(−1)."""
    if flat.target not in (aten.view.default, aten.reshape.default, aten._unsafe_view.default):
        return None
    source = flat.args[0]
    return source if source.meta["val"].dim() == 2 else None


def step_of(offsets: Any) -> int | None:
    """S, where the offsets are 0, S, 2·S, …"""
    if offsets.target is not aten.arange.start_step or offsets.args[0] != 0:
        return None
    end, step = offsets.args[1], offsets.args[2] if len(offsets.args) > 2 else 1
    if not isinstance(end, fx.Node) or not isinstance(step, int):
        return None
    return step if step == 1 or (end.target is operator.mul and step in end.args) else None


def length(value: Any) -> Any:
    """The extent of the first dim, as an expression of the batch size."""
    size = value.shape[0]
    return size.node.expr if isinstance(size, torch.SymInt) else size
