"""The same function of parameters is computed once; a draw, and what reads an example, as often as it is written."""

import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.trace import trace


class Calls(nn.Module):
    """A model whose forward is given."""

    def __init__(self, forward):
        super().__init__()
        self.run, self.w = forward, nn.Parameter(torch.randn(5, 5, dtype=torch.float64))

    def forward(self, x):
        return self.run(self.w, x).square().sum(1)


X = torch.randn(3, 5, dtype=torch.float64)


def count(forward, op):
    """How often an op stands in the traced graph."""
    return sum(str(node.target).startswith(f"aten.{op}.") for node in trace(Calls(forward), None, (X,)).ops())


def test_a_function_of_parameters_is_computed_once():
    """Its arguments the same, nodes and numbers."""
    assert count(lambda w, x: F.linear(F.linear(x, w[:5].tanh()), w[:5].tanh()), "tanh") == 1
    assert count(lambda w, x: F.linear(F.linear(x, w[:3].tanh()), w[:, :3].tanh()), "tanh") == 2


def test_a_draw_is_made_anew():
    """Two masks of a dropped-out weight are two."""
    assert count(lambda w, x: F.linear(F.linear(x, F.dropout(w)), F.dropout(w)), "dropout") == 2


def test_what_reads_examples_is_left_alone():
    """Only functions of parameters are of use to have once."""
    assert count(lambda w, x: F.linear(x.tanh(), w) * x.tanh(), "tanh") == 2


def test_a_part_read_at_every_step_is_one_value():
    """A loop over a slice of a weight: one value, its uses one term, and exact."""

    def forward(w, x):
        for _ in range(4):
            x = F.linear(x, w.exp()[:, :]).tanh()
        return x

    step = cc.compile(Calls(forward))
    assert step.verify(X) < 1e-12
    (term,) = step.plan["exp"].terms
    assert len(term.uses) == 4
