"""Branches that tell a batch of one apart: accepted where both paths are the same ops, refused elsewhere."""

import pytest
import torch
from comparison import assert_exact
from torch import nn

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")
BATCH = torch.randn(5, 4, dtype=torch.float64), torch.randint(4, (5,))


class Branching(nn.Module):
    """A layer and a forward that may look at the batch size."""

    def __init__(self, forward):
        super().__init__()
        self.fc, self.dropout = nn.Linear(4, 4), nn.Dropout(0.5)
        self.own = forward
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        return self.own(self, x)


def expanded_positions(model, x):
    """As transformers prepares the mask of packed sequences."""
    places = torch.arange(4).unsqueeze(0)
    if x.shape[0] != places.shape[0]:
        places = places.expand(x.shape[0], -1)
    return model.fc(x) * places


def viewed(model, x):
    y = model.fc(x)
    return y.view(-1, 2, 2).reshape(x.shape[0], 4) if x.shape[0] > 1 else y


def copied(model, x):
    return model.fc(x) if x.shape[0] == 1 else model.fc(x).clone()


def repeated(model, x):
    shift = model.fc.bias[None]
    return model.fc(x) + (shift.repeat(x.shape[0], 1) if x.shape[0] > 1 else shift)


def written_over(model, x):
    """All examples, or the one, are written: a slice of every example is no slice."""
    y = torch.zeros_like(x)
    for k in range(4):
        y[:, k] = model.fc(x)[:, 3 - k]
    return y.view(-1, 2, 2).reshape(x.shape[0], 4) if x.shape[0] > 1 else y


@pytest.mark.parametrize("forward", [expanded_positions, viewed, copied, repeated, written_over])
def test_a_branch_to_no_effect_is_accepted(forward):
    step = cc.compile(Branching(forward).double(), LOSS)
    for size in (1, 2, 5):
        assert_exact(step, (BATCH[0][:size], BATCH[1][:size]))


def doubled(model, x):
    return model.fc(2 * x if x.shape[0] == 1 else x)


def other_parameter(model, x):
    return model.fc(x) + (model.fc.bias if x.shape[0] == 1 else model.fc.weight[0])


def other_constant(model, x):
    return model.fc(x) * (torch.tensor([1.0, 2, 3, 4]) if x.shape[0] == 1 else torch.tensor([1.0, 2, 3, 5]))


def other_dim(model, x):
    return model.fc(x) - model.fc(x).mean(0 if x.shape[0] == 1 else 1, keepdim=True)


def other_view(model, x):
    y = model.fc(x).view(-1, 2, 2)
    return (y if x.shape[0] == 1 else y.transpose(1, 2)).reshape(x.shape[0], 4)


def another_draw(model, x):
    first, second = model.dropout(x), model.dropout(x)
    return model.fc(first + (first if x.shape[0] == 1 else second))


def detached(model, x):
    y = model.fc(x)
    return y + (y if x.shape[0] == 1 else y.detach())


def other_count(model, x):
    model.calls += 2 if x.shape[0] == 1 else 1
    return model.fc(x)


def count_of_many(model, x):
    if x.shape[0] > 1:
        model.calls += 1
    return model.fc(x)


@pytest.mark.parametrize(
    "forward",
    [
        doubled, other_parameter, other_constant, other_dim, other_view, another_draw, detached, other_count,
        count_of_many,
    ],
)  # fmt: skip
def test_a_branch_to_some_effect_is_refused_with_its_line(forward):
    step = cc.compile(Branching(forward).double(), LOSS)
    with pytest.raises(cc.UntraceableModel, match="branches on the batch size") as refusal:
        step(*BATCH)
    assert "x.shape[0]" in refusal.value.origin.code
