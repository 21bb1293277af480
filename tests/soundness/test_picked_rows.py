"""A row that a mask picks from each example, as sequence classifiers take the output at the end of the text."""

import pytest
import torch
from comparison import assert_exact
from torch import nn

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")
END = 2


class Classifier(nn.Module):
    """A head on the first or last token that is END."""

    def __init__(self, place):
        super().__init__()
        self.embed, self.mix, self.head, self.place = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 3), place

    def forward(self, ids):
        h = torch.tanh(self.mix(self.embed(ids).cumsum(1)))
        return self.head(h[ids.eq(END), :].view(ids.shape[0], -1, 4)[:, self.place])


def texts(size, ends=(2, 4)):
    """Token ids with END at the places given."""
    ids = torch.randint(3, 9, (size, 6))
    ids[:, list(ends)] = END
    return ids, torch.randint(3, (size,))


@pytest.mark.parametrize("place", [0, -1])
def test_exact(place):
    step = cc.compile(Classifier(place).double(), LOSS, max_grad_norm=0.2)
    for size in (1, 2, 5):
        assert_exact(step, texts(size))


def test_examples_may_have_it_in_other_places():
    step = cc.compile(Classifier(-1).double(), LOSS, max_grad_norm=0.2)
    (early, y), (late, z) = texts(2, (0, 1)), texts(3, (2, 5))
    assert_exact(step, (torch.cat([early, late]), torch.cat([y, z])))


def test_an_example_without_one_is_named():
    """Alone it would raise an IndexError."""
    step = cc.compile(Classifier(-1).double(), LOSS)
    ids, y = texts(4)
    ids[2] = 3
    with pytest.raises(cc.NonFiniteExamples, match=r"1 of 4 examples .*: 2"):
        step(ids, y)


def test_a_row_in_between_is_refused():
    """By its number in the list it is another example's, as soon as one has more of them."""
    with pytest.raises(cc.ExamplesMixed):
        cc.compile(Classifier(1).double(), LOSS, example_inputs=texts(4))
