"""Dims that are merged, moved and split again are moved by one permute."""

import math
from itertools import pairwise

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import clipcompiler as cc
from clipcompiler.trace import trace
from clipcompiler.trace.split_again import refined

aten = torch.ops.aten
X = torch.randn(3, 5, 6, dtype=torch.float64)
N, T = sympy.symbols("N T", positive=True, integer=True)


class Moved(nn.Module):
    """A linear layer whose output's dims are moved."""

    def __init__(self, move):
        super().__init__()
        self.layer, self.move = nn.Linear(6, 6, dtype=torch.float64), move

    def forward(self, x):
        y = self.layer(x)
        weights = torch.arange(1.0, 31.0, dtype=y.dtype)
        return (self.move(y, x.shape[0]).flatten(1).tanh() * weights).sum(1)


#: Moves with the examples first at the end: whether they become one permute.
MOVES = {
    "heads of an attention": (
        lambda y, n: y.transpose(0, 1).reshape(5, n * 2, 3).transpose(0, 1).reshape(n, 2, 5, 3),
        True,
    ),
    "by permute": (lambda y, n: y.transpose(0, 1).reshape(5, n * 3, 2).permute(1, 2, 0).reshape(n, 3, 2, 5), True),
    "positions and heads": (lambda y, n: y.reshape(n, 10, 3).transpose(1, 2).reshape(n, 3, 5, 2), True),
    "split elsewhere": (lambda y, n: y.reshape(n, 10, 3).transpose(1, 2).reshape(n, 3, 2, 5), False),
    "merged for good": (lambda y, n: y.reshape(n, 10, 3).transpose(1, 2).reshape(n, 30), False),
    "nothing merged": (lambda y, n: y.reshape(n, 5, 2, 3).transpose(1, 2).reshape(n, 2, 15), False),
    "an extent of 1": (lambda y, n: y.reshape(n, 1, 30).transpose(1, 2).reshape(n, 5, 6), False),
}


@pytest.mark.parametrize(("move", "once"), MOVES.values(), ids=MOVES)
def test_dims_are_moved_once(move, once):
    """And the norms stay those of one pass an example, at any number of examples at a time."""
    model = Moved(move)
    ops = [node.target for node in trace(model, None, (X,)).ops()]
    after = ops[ops.index(aten.linear.default) + 1 :]
    reshapes = sum(op in (aten.view.default, aten.reshape.default, aten._unsafe_view.default) for op in after)
    assert (aten.permute.default in after and reshapes < 3) == once
    step = cc.compile(model, chunk_size=2)  # of three: two examples, then one
    assert step.verify(X) < 1e-12


@pytest.mark.parametrize("dynamic", [{}, {"dynamic": {"x": {1: "T"}}}], ids=["5 positions", "T positions"])
def test_heads_of_attention_are_split_by_one_permute(dynamic):
    """``nn.MultiheadAttention`` of examples along the first dim, of one length and of any."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)

        def forward(self, x):
            return self.layer(x, x, x, need_weights=False)[0].square().flatten(1).sum(1)

    step = cc.compile(Attention(), **dynamic)
    assert step.verify(X) < 1e-12
    assert step.source.count("N, 2, 3)") == 3 and "[1, 2, 0, 3]" in step.source


def test_parts_of_shapes_with_symbols():
    """Of N alone, whatever N is: 8 N is N and 8, and 25 is no part of N."""
    t, d = sympy.Integer(512), sympy.Integer(200)
    assert refined([t, N, d], [t, 8 * N, sympy.Integer(25)]) == ([[t], [N], [8, 25]], [[0], [1, 2], [3]])
    assert refined([T, N, d], [T * N, d]) == ([[T], [N], [d]], [[0, 1], [2]])
    assert refined([T, N], [N, T]) is None
    assert refined([N, sympy.Integer(1)], [N]) is None


@given(st.lists(st.integers(2, 4), min_size=1, max_size=5), st.data())
def test_parts_multiply_to_the_extents(sizes, data):
    """Of two groupings of some extents: each extent is the product of its parts, as numbers in order."""

    def grouped():
        cuts = sorted(data.draw(st.sets(st.integers(1, len(sizes) - 1)))) if len(sizes) > 1 else []
        bounds = [0, *cuts, len(sizes)]
        return [sympy.Integer(math.prod(sizes[a:b])) for a, b in pairwise(bounds)]

    left, right = grouped(), grouped()
    found = refined(left, right)
    if found is not None:  # 4 · 3 · 2 by 2 · 12 has no whole parts in common
        of_left, of_right = found
        parts = [part for group in of_left for part in group]
        assert [math.prod(group) for group in of_left] == left
        assert [math.prod(parts[k] for k in group) for group in of_right] == right
        assert [k for group in of_right for k in group] == list(range(len(parts)))
