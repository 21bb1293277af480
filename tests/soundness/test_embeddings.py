"""Tables of rows looked up in unusual ways, and bags of them: exact, or refused."""

import pytest
import torch
from comparison import assert_exact, mostly_slow
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.plan import Order

V, D, S = 7, 4, 6


class Looks(nn.Module):
    """A function of a model, which has a table, a head and a bag, and of indices."""

    def __init__(self, function, **bag):
        super().__init__()
        self.function = function
        self.w, self.square = nn.Parameter(torch.randn(V, D)), nn.Parameter(torch.randn(V, V))
        self.bag, self.head, self.lstm = nn.EmbeddingBag(V, D, **bag), nn.Linear(D, V), nn.LSTM(D, D)

    def forward(self, i):
        return self.function(self, i)


def losses(output, target):
    return F.cross_entropy(output, target, reduction="none")


def indices(size, *shape):
    """Numbers of rows; every other example has number 2 alone."""
    made = torch.randint(V, (size, *shape))
    made[1::2] = 2
    return made


def assert_exact_of_all_sizes(model, units=1):
    """Of 0, 1, 2 and 5 units."""
    step = cc.compile(model.double(), losses, max_grad_norm=0.5, examples_per_unit=units)
    for size in (5, 1, 2, 0):
        batch = indices(units * size, S), torch.randint(V, (units * size,))
        if units == 1:
            assert_exact(step, batch)
        else:
            assert step.verify(*batch) < 1e-10


TABLES = {
    "rows and columns": lambda m, i: m.square[i].tanh().sum(1) + m.square[:, i].sin().sum(2).t(),
    "rows, columns and a head": lambda m, i: F.linear(m.square[i].sum(1) + m.square[:, i].sin().sum(2).t(), m.square),
    "time before examples, to a tied head": lambda m, i: F.linear(m.lstm(m.w[i.t()])[0].sin(), m.w).sum(0),
    "columns, to a tied head": lambda m, i: F.linear(m.w[i].sum(1), m.w) + (m.w.t()[:, i].cos().sum((0, 2))[:, None]),
    "padding in one of two lookups": lambda m, i: m.head(
        F.embedding(i, m.w, padding_idx=2).sum(1) + F.embedding(i, m.w).sin().sum(1)
    ),
}


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_read_in_several_ways_is_exact(name, units):
    assert_exact_of_all_sizes(Looks(TABLES[name]), units)


BAGS = {
    "to a head": lambda m, i: m.head(m.bag(i)),
    "to a tied head": lambda m, i: F.linear(m.bag(i).sin() + 1, m.bag.weight),
    "of one row": lambda m, i: m.head(m.bag(i[:, :1])),
    "several an example": lambda m, i: m.head(m.bag(i.reshape(-1, 3)).view(-1, 2, D).sin().sum(1)),
    "by offsets": lambda m, i: m.head(m.bag(i.reshape(-1), torch.arange(0, S * i.shape[0], S))),
}


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", mostly_slow(BAGS, every=3))
def test_a_bag_is_exact(name, mode, padding):
    """Those of padding alone too."""
    assert_exact_of_all_sizes(Looks(BAGS[name], mode=mode, padding_idx=padding))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_bag_whose_gradient_is_divided_by_frequencies_is_refused(mode):
    """Eager torch divides by how often the batch has a row: for an example alone by how often it has the row."""
    model = Looks(BAGS["to a head"], mode=mode, scale_grad_by_freq=True).double()
    with pytest.raises(cc.NoRule, match="scale_grad_by_freq"):
        cc.compile(model, losses, example_inputs=(indices(5, S), torch.randint(V, (5,))))


def test_bags_of_another_number_than_the_examples_are_refused():
    """The offsets end before the indices do."""
    model = Looks(lambda m, i: m.head(m.bag(i.reshape(-1), torch.arange(0, 3 * i.shape[0], 3)))).double()
    with pytest.raises(cc.CompileError):
        cc.compile(model, losses, example_inputs=(indices(5, S), torch.randint(V, (5,))))


def test_an_example_of_padding_alone_has_norm_zero():
    """By Gram: what rounding may have taken is counted at the places that have a row."""
    table = nn.Parameter(torch.randn(V, 2, dtype=torch.float64))
    model = Looks(lambda m, i: F.embedding(i, m.table, padding_idx=0).flatten(1)).double()
    model.table = table
    step = cc.compile(model, lambda o, t: (o**2).sum(1) * t)
    ids = torch.tensor([[0, 0, 0], [0, 1, 1], [2, 3, 0]])
    result, _ = step.gradients(ids, torch.ones(3, dtype=torch.float64))
    assert step.plan["table"].order is Order.GRAM
    assert result.norms[0] == 0
    assert step.verify(ids, torch.ones(3, dtype=torch.float64)) < 1e-10
