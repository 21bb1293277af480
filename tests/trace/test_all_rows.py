"""Rows that are all selected are one unbind: written once by the backward pass."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.trace import trace


class Rows(nn.Module):
    """A linear layer whose output is read by rows of dim 1."""

    def __init__(self, read):
        super().__init__()
        self.read, self.layer = read, nn.Linear(4, 6, dtype=torch.float64)

    def forward(self, x):
        return self.read(self.layer(x), x).square().flatten(1).sum(1)


X = torch.randn(3, 3, 4, dtype=torch.float64)


def ops(read):
    """The names of the ops of the traced graph."""
    return [str(node.target) for node in trace(Rows(read), None, (X,)).ops() if node.target is not operator.getitem]


def by_steps(y, x):
    """A loop over the rows, the last read twice."""
    state = torch.zeros_like(y[:, 0])
    for t in range(3):
        state = (state + y[:, t]).tanh()
    return state * y[:, -1]


@pytest.mark.parametrize(
    "read",
    [lambda y, x: y[:, 0] * y[:, 1] + y[:, 2], lambda y, x: y[:, -1] * y.select(-2, 0) + y[:, 1], by_steps],
    ids=["each once", "counted from the end", "a loop"],
)
def test_all_rows_are_one_unbind(read):
    """And the norms stay those of one pass an example."""
    found = ops(read)
    assert found.count("aten.unbind.int") == 1 and "aten.select.int" not in found
    step = cc.compile(Rows(read))
    assert step.verify(X) < 1e-12
    assert ".unbind(" in step.source


def test_rows_of_rows_are_unbound_too():
    """No select is left behind the first unbind."""

    def read(y, x):
        rows = [y[:, t] for t in range(3)]
        return sum((k + 1) * row[:, k] for row in rows for k in range(6)).tanh()[:, None]

    found = ops(read)
    assert found.count("aten.unbind.int") == 4 and "aten.select.int" not in found
    assert cc.compile(Rows(read)).verify(X) < 1e-12


@pytest.mark.parametrize(
    ("read", "selects"),
    [
        (lambda y, x: y[:, 0] * y[:, 2], 2),  # one is not read: its zeros would be stacked
        (lambda y, x: y.mean(1) * (x[:, 0] + x[:, 1] * x[:, 2]).sum(), 3),  # of the batch: nothing is pulled back
    ],
    ids=["some", "the batch"],
)
def test_others_stay_selects(read, selects):
    """Where an unbind saves nothing."""
    found = ops(read)
    assert found.count("aten.select.int") == selects and "aten.unbind.int" not in found


def test_rows_of_a_parameter_stay_uses_of_their_own():
    """Each is a term of the norm by itself."""

    class OfParameter(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 4, 4, dtype=torch.float64))

        def forward(self, x):
            return F.linear(F.linear(x, self.w[0]).tanh(), self.w[1]).square().flatten(1).sum(1)

    graph = trace(OfParameter(), None, (X,)).ops()
    assert sum(str(node.target) == "aten.select.int" for node in graph) == 2
    assert cc.compile(OfParameter()).verify(X) < 1e-12
