"""The gradients of small parameters in one row: squared, clipped and summed once."""

import pytest
import torch
from torch import nn

import clipcompiler as cc

X = torch.randn(5, 6, 4, dtype=torch.float64)


def loss(y, target):
    return (y - target).square().flatten(1).sum(1)


def model():
    """Scales, biases, a scalar and small weights beside a large one."""
    torch.manual_seed(0)
    layers = nn.LayerNorm(4), nn.Linear(4, 1100), nn.PReLU(), nn.LayerNorm(1100), nn.Linear(1100, 2)
    return nn.Sequential(*layers).double()


def test_small_gradients_are_one_row():
    """Exact, in chunks too, and each sum in memory of its own."""
    step = cc.compile(model(), loss)
    assert step.verify(X, X[..., :2]) < 1e-10
    assert step.source.count("vectors_each = torch.cat(") == 1
    assert step.source.count("vectors_sq") == 2  # bound, and added
    step(X, X[..., :2])
    held = {p.grad.untyped_storage().data_ptr() for p in step.model.parameters()}
    assert len(held) == len(list(step.model.parameters()))
    chunked = cc.compile(model(), loss, chunk_size=2)
    assert chunked.verify(X, X[..., :2]) < 1e-10


def test_a_large_one_stays_alone():
    """To copy it would cost more than to square it apart."""
    source = cc.compile(model(), loss).prepare(X, X[..., :2]).source
    row = source[source.index("torch.cat(") : source.index("vectors_sq")]
    assert "weight_each" in row and "_1_weight_each" not in row


@pytest.mark.parametrize("clipping", [cc.PerLayer(), cc.Flat()], ids=["by layer", "flat"])
def test_groups_keep_their_norms_apart(clipping):
    """A row of several groups would have one square."""
    step = cc.compile(model(), loss, clipping=clipping)
    assert step.verify(X, X[..., :2]) < 1e-10
    assert ("vectors_each" in step.source) == isinstance(clipping, cc.Flat)


def test_one_alone_is_no_row():
    """Nothing is saved."""
    step = cc.compile(nn.Linear(4, 1100, bias=False).double(), loss)
    assert step.verify(X, torch.zeros(5, 6, 1100).double()) < 1e-10
    assert "vectors" not in step.source


def test_a_parameter_may_be_called_vectors():
    """The row's variable then has another name, in its square and in its sum."""

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.vectors = nn.Parameter(torch.randn(4, dtype=torch.float64))
            self.shift = nn.Parameter(torch.randn(4, dtype=torch.float64))

        def forward(self, x):
            return (x * self.vectors).tanh() + self.shift

    step = cc.compile(Named(), loss)
    assert step.verify(X, torch.zeros_like(X)) < 1e-10
    assert "vectors_each_2 = torch.cat(" in step.source
