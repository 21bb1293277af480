"""A user's function from norms to factors: cut to the bound, refused where it mixes norms or gives no factors."""

import math

import pytest
import torch
from clipping_examples import C, batch_of, losses, model_of

import clipcompiler as cc


def test_a_function_of_the_norms_is_cut_to_the_bound():
    """Factors 5 everywhere: c = 5 where that leaves less than C, else C/‖g‖; without a bound, 5."""
    clipping = lambda norms: torch.full_like(norms, 5.0)  # noqa: E731
    step = cc.compile(model_of(), losses, max_grad_norm=C, clipping=clipping)
    batch = batch_of(8)
    assert step.verify(*batch) <= 1e-10
    result, _ = step.gradients(*batch)
    torch.testing.assert_close(
        result.clip_factors, torch.minimum(torch.tensor(5.0), C / result.norms), rtol=1e-12, atol=0
    )
    step.max_grad_norm = math.inf
    assert step.gradients(*batch)[0].clip_factors.eq(5).all()
    assert step.sensitivity.add_remove == math.inf
    assert step.compilations == 1


def test_a_negative_factor_is_cut_as_well():
    """−5 is −C/‖g‖ where that is more."""
    step = cc.compile(model_of(), losses, max_grad_norm=C, clipping=lambda norms: -5 * torch.ones_like(norms))
    result, _ = step.gradients(*batch_of(8))
    assert (result.clip_factors < 0).all()
    assert (result.clip_factors.abs() * result.norms <= C).all()


MIXING = {
    "the largest norm": lambda norms: norms / norms.max(),
    "the mean norm": lambda norms: (norms.mean() / norms).clamp(max=1),
    "a quantile": lambda norms: (norms.sort()[0][0] / norms).clamp(max=1),
    "the batch size": lambda norms: 1 / (norms * norms.shape[0]),
    "another's norm": lambda norms: 1 / norms.flip(0),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_function_that_mixes_norms_is_refused(name):
    """A norm must not change another example's factor; the line of the function is named."""
    with pytest.raises(cc.ExamplesMixed, match="the clipping function") as caught:
        cc.compile(model_of(), losses, clipping=MIXING[name]).gradients(*batch_of(4))
    assert f"{__file__}:{MIXING[name].__code__.co_firstlineno}" in str(caught.value)


@pytest.mark.parametrize("function", [lambda norms: 1.0, lambda norms: norms.sum(), lambda norms: norms[:, None]])
def test_a_function_that_returns_no_factors_is_refused(function):
    with pytest.raises(cc.CompileError, match="the clipping function"):
        cc.compile(model_of(), losses, clipping=function).gradients(*batch_of(4))
