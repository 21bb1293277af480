"""Rounding never lets an example contribute more than C, nor takes a finite gradient for one that is not."""

import pytest
import torch
from patterns import Pattern
from torch import nn

import clipcompiler as cc
from clipcompiler.verify import oracle

WEIGHTS = torch.randn(4, 64)


def centred(model, x):
    """Cotangents that sum to zero over the positions, as before an instance norm or a softmax over positions."""
    y = model.f(x)
    return (y - y.mean(1, keepdim=True)) * WEIGHTS.to(x)


def total(output, target):
    """Σ y + 0·t"""
    return output.sum((1, 2)) + 0 * target


def step_of(dtype=torch.float32):
    """A layer whose norm is cheapest as a Gram."""
    return cc.compile(Pattern(centred, f=nn.Linear(64, 64)).to(dtype), total)


def test_an_example_of_equal_positions_is_finite():
    """Its gradient is zero; a Gram rounds to something about zero, of either sign: √(8ε) of the positions' own."""
    step = step_of()
    x = torch.randn(16, 1, 64).expand(16, 4, 64)
    result = step(x, torch.zeros(16))
    own = (WEIGHTS - WEIGHTS.mean(0)).square().sum(1) * (x.square().sum(2) + 1)
    assert (result.norms <= 1.5e-3 * own.sum(1).sqrt()).all()


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_no_example_contributes_more_than_the_bound(offset):
    """c_n‖∇ℓ_n‖ ≤ C(1 + 1e-4), the gradient taken in float64, for inputs far from zero."""
    step = step_of()
    batch = offset + torch.randn(16, 4, 64), torch.zeros(16)
    result, _ = step.gradients(*batch)
    truth = oracle(step.model, total, batch)
    assert (result.clip_factors.double() * truth.norms).max() <= 1 + 1e-4


@pytest.mark.parametrize("size", [2**20, 2**22])
def test_large_gradients_are_not_under_reported(size):
    """Σ g² over millions of equal elements, in float32."""
    step = cc.compile(Pattern(lambda m, x: x * m.w, w=nn.Parameter(torch.ones(size))), lambda o, t: o.sum(1) * t)
    result, _ = step.gradients(torch.full((2, size), 0.1), torch.ones(2))
    torch.testing.assert_close(result.norms.double(), torch.full((2,), 0.1 * size**0.5).double(), rtol=1e-6, atol=0)
