"""linear(xᵀ), matmul(xᵀ, W) with the examples second to last  →  linear(x)ᵀ, matmul(x, W)ᵀ

    y[t,n,o] = Σ_i W[o,i] x[n,t,i] = z[n,t,o]        z = linear(x)

torch multiplies xᵀ by a matrix that takes no gradient at every t apart, as N rows each time: a chunk of two examples
took 8.4 ms instead of 2.7 at [512, 2, 200] → 600. Where the matrix takes a gradient, as in the module's own step, torch
copies xᵀ in order, and then multiplies once. Moving the output's dims instead copies nothing.
``nn.MultiheadAttention`` transposes its input so.
"""

from __future__ import annotations

import torch
from torch import fx

from clipcompiler.trace.moves import MOVING, order_of
from clipcompiler.trace.writer import Writer

__all__ = ["to_one_product"]

aten = torch.ops.aten

PRODUCTS = (aten.linear.default, aten.matmul.default)


def to_one_product(graph: fx.Graph) -> None:
    """Applies the rewrite in place; the replaced nodes are left without users."""
    for node in list(graph.nodes):
        product = node
        while product.target in PRODUCTS and rows_are_moved_examples(*product.args[:2]):
            moved, *others = product.args
            x, *move = moved.args
            write, value, order = Writer(graph, product), product.meta["val"], order_of(moved)
            back = [order.index(dim) for dim in range(len(order))]
            inner = write(product.target, x, *others, value=value.permute(back))  # its own would guard x's strides
            product.replace_all_uses_with(write(moved.target, inner, *move, value=value))
            product = inner


def rows_are_moved_examples(x: fx.Node, matrix: fx.Node) -> bool:
    """Whether x […, N, I] is a transposed tensor whose last dim stayed, and the other factor a matrix."""
    if x.target not in MOVING or len(matrix.meta["val"].shape) != 2:
        return False
    order = order_of(x)
    last, rows = len(order) - 1, len(order) - 2
    moved = rows > 0 and order[last] == last and order[rows] != rows
    return moved and not isinstance(x.meta["val"].shape[rows], int)
