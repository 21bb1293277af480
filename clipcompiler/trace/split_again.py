"""reshape → permute → reshape, dims merged by the first and split again by the last  →  reshape → permute

    [T, N, H·d] → [T, N·H, d] → [N·H, T, d] → [N, H, T, d]        =        [T, N, H, d] → [N, H, T, d]

Behind the left side stands a backward pass that copies: a cotangent whose dims were moved has no merged dim to view.
``nn.MultiheadAttention`` splits its heads so, and three times two copies go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
import torch
from torch import fx

from clipcompiler.trace.moves import MOVING, order_of
from clipcompiler.trace.writer import Writer

__all__ = ["to_one_permute"]

aten = torch.ops.aten

RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


def to_one_permute(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        found = parts_of(node)
        if found is not None:
            node.replace_all_uses_with(one_permute(Writer(graph, node), *found))


def parts_of(node: fx.Node) -> tuple[fx.Node, list[list[sympy.Expr]], list[int]] | None:
    """x, the parts of each of its dims, and the order of all parts, where a node ends such a chain on x."""
    chain: list[Any] = [node]
    for targets in (RESHAPES, MOVING, RESHAPES):
        if chain[-1].target not in targets:
            return None
        chain.append(chain[-1].args[0])
    _, moved, merged, x = chain
    met = refined(extents(x), extents(merged))
    if met is None:
        return None
    of_x, of_merged = met
    sizes = [size for parts in of_x for size in parts]
    order = [part for dim in order_of(moved) for part in of_merged[dim]]
    apart = max(map(len, of_merged)) > 1 and [sizes[part] for part in order] == extents(node)
    whole = all(len(parts) == 1 or all(size.is_Integer for size in parts) for parts in of_x)
    return (x, of_x, order) if apart and whole else None


def extents(node: fx.Node) -> list[sympy.Expr]:
    """The extents of a value."""
    return [s.node.expr if isinstance(s, torch.SymInt) else sympy.Integer(s) for s in node.meta["val"].shape]


def refined(
    left: Sequence[sympy.Expr], right: Sequence[sympy.Expr]
) -> tuple[list[list[sympy.Expr]], list[list[int]]] | None:
    """The parts that two shapes of one tensor have in common: extents by dim of the left, numbers by dim of the right.

    ``None`` where an extent is 1 or 0, or none of two divides the other.
    """
    if any(size in (0, 1) for size in (*left, *right)):
        return None
    of_left: list[list[sympy.Expr]] = [[] for _ in left]
    of_right: list[list[int]] = [[] for _ in right]
    i = j = count = 0
    rest, other = left[0], right[0]
    while i < len(left) and j < len(right):
        if rest == other or divides(rest, other):
            part = rest
        elif divides(other, rest):
            part = other
        else:
            return None
        of_left[i].append(part)
        of_right[j].append(count)
        count, rest, other = count + 1, sympy.cancel(rest / part), sympy.cancel(other / part)
        if rest == 1:
            i, rest = i + 1, left[i + 1] if i + 1 < len(left) else sympy.Integer(1)
        if other == 1:
            j, other = j + 1, right[j + 1] if j + 1 < len(right) else sympy.Integer(1)
    return of_left, of_right


def divides(size: sympy.Expr, other: sympy.Expr) -> bool:
    """Whether an extent is a factor of another, whatever their symbols stand for."""
    return bool(sympy.fraction(sympy.cancel(other / size))[1] == 1)


def one_permute(write: Writer, x: fx.Node, of_x: list[list[sympy.Expr]], order: list[int]) -> fx.Node:
    """The parts of x as dims of their own, in another order."""
    sizes: list[Any] = []
    for dim, (parts, extent) in enumerate(zip(of_x, x.meta["val"].shape, strict=True)):
        known = isinstance(extent, int)
        sizes += map(int, parts) if known else [write(aten.sym_size.int, x, dim, value=extent)]
    return write(aten.permute.default, write(aten.reshape.default, x, sizes), order)
