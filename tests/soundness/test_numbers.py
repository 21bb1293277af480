"""The precision of norms, factors and sums: large parameters, low precision, extreme values."""

import pytest
import torch
from patterns import Pattern
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.verify import oracle


def weighed(output, target):
    """t[n] Σ_s y[n,s]"""
    return output.flatten(1).sum(1) * target


@pytest.mark.parametrize("shape", [(1000,), (2**15,), (2**15 + 1,), (2**20,), (1024, 1024), (64, 128, 128), (3, 2**19)])
def test_large_norms_are_not_under_reported(shape):
    """Σ g² over equal elements, g = 0.1: what is left of C after rounding is at most 1e-6 of it."""
    assert_not_under_reported(shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(10**8,), (10**4, 10**4), (10**8 // 2**15, 2**15)])
def test_norms_of_a_hundred_million_elements_are_not_under_reported(shape):
    """Where ``torch.norm`` is 1.1% too small."""
    assert_not_under_reported(shape)


def assert_not_under_reported(shape):
    """The norm of one gradient, instantiated, against its closed form."""
    model = Pattern(lambda m, x: x.view(-1, *[1] * len(shape)) * m.w, w=nn.Parameter(torch.ones(shape)))
    result, _ = cc.compile(model, weighed).gradients(torch.full((1,), 0.1), torch.ones(1))
    truth = float(torch.tensor(0.1).double()) * torch.Size(shape).numel() ** 0.5
    assert abs(float(result.norms) / truth - 1) <= 1e-6


LAYERS = {
    "linear": (lambda: nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)), (16,)),
    "linear over positions": (lambda: nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)), (5, 16)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten()), (2, 6, 6)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAYERS)
def test_low_precision_sums_are_added_in_float32(name, dtype):
    """One example contributes what its norm says to 1e-5; ``.grad`` is that, rounded once to the model's dtype."""
    make, shape = LAYERS[name]
    step = cc.compile(make().to(dtype), weighed, max_grad_norm=0.5)
    for scale in (0.01, 1.0, 10.0):
        batch = (scale * torch.randn(1, *shape)).to(dtype), torch.ones(1, dtype=dtype)
        result, sums = step.gradients(*batch)
        assert result.norms.dtype == torch.float32
        assert all(g.dtype == torch.float32 for g in sums.values())
        total = sum(g.double().square().sum() for g in sums.values()).sqrt()
        assert total == pytest.approx(float(result.clip_factors * result.norms), rel=1e-5)
        assert total <= 0.5 * (1 + 1e-5)
        step.zero_grad()
        step(*batch)
        for key, parameter in step.model.named_parameters():
            assert parameter.grad.dtype == dtype
            assert torch.equal(parameter.grad, sums[key].to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_norms_are_near_the_truth(dtype):
    """They are those of the gradients that the forward and backward passes of this dtype give."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)).to(dtype)
    loss_fn = lambda o, t: F.cross_entropy(o, t, reduction="none")  # noqa: E731
    batch = torch.randn(32, 16).to(dtype), torch.randint(0, 4, (32,))
    result, _ = cc.compile(model, loss_fn).gradients(*batch)
    truth = oracle(model, loss_fn, batch)
    torch.testing.assert_close(result.norms.double(), truth.norms, rtol=3e-2, atol=0)


def test_values_that_a_closure_a_list_or_an_object_holds_stay_alive():
    """A tensor that others can change in place is read at every call, and not written into the program."""
    held, boxed = torch.ones(3, dtype=torch.float64), [torch.ones(3, dtype=torch.float64)]

    def loss_fn(output, target):
        made = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        return (output * held * boxed[0] * made).sum(1) * target

    step = cc.compile(nn.Linear(4, 3).double(), loss_fn)
    batch = torch.randn(5, 4, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    before = step.gradients(*batch)[0].norms
    boxed[0].mul_(2)
    held.mul_(3)
    torch.testing.assert_close(step.gradients(*batch)[0].norms, 6 * before, rtol=1e-12, atol=0)
    assert "[1.0, 2.0, 3.0]" in step.source
