"""x̂ of a layer norm by the statistics of the forward."""

import pytest
import torch
from torch import nn

import clipcompiler as cc

X = torch.randn(3, 5, 4, dtype=torch.float64)


def step_of(norm, dtype=torch.float64):
    """The step of a linear layer, a norm and a linear layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 2)).to(dtype)
    return cc.compile(model, lambda y, target: (y - target).square().flatten(1).sum(1))


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm(4), nn.LayerNorm(4, bias=False), nn.LayerNorm((5, 4), eps=0.1)],
    ids=["scale and shift", "scale", "two dims"],
)
def test_exact_and_normalised_once(norm):
    """Far from mean 0, where x̂ is a small difference."""
    norm.weight.data.uniform_(-1, 1)
    step = step_of(norm)
    assert step.verify(X + 100, X[..., :2]) < 1e-9
    assert "_mean, " in step.source and "_rstd = torch.native_layer_norm(" in step.source
    assert "torch.layer_norm(" not in step.source


def test_without_a_scale_to_train_the_op_is_left_alone():
    """No gradient reads x̂."""
    norm = nn.LayerNorm(4)
    norm.weight.requires_grad_(False)
    step = step_of(norm)
    assert step.verify(X, X[..., :2]) < 1e-12
    assert "torch.layer_norm(" in step.source and "native" not in step.source


def test_half_precision_normalises_again():
    """Statistics in bfloat16 are rounded; x̂ is not made from them."""
    step = step_of(nn.LayerNorm(4), torch.bfloat16)
    step(X.bfloat16(), X[..., :2].bfloat16())
    assert "native_layer_norm" not in step.source and "_normalised = torch.layer_norm(" in step.source
