"""Every clipping function against its own formula, and its contribution against its sensitivity."""

import math
from fractions import Fraction

import pytest
import torch
from clipping_examples import C, batch_of, losses, model_of

import clipcompiler as cc
from clipcompiler.clipping import Function

FORMULAS = {
    cc.Flat(): lambda g: torch.where(g > C, C / g, 1.0),
    cc.Automatic(0.01): lambda g: C / (g + 0.01),
    cc.Automatic(gamma=2.0): lambda g: C / (g + 2.0),
    cc.Normalize(): lambda g: torch.where(g > 0, C / g, 0.0),
    cc.PSAC(): lambda g: C / (g + 0.1 / (g + 0.1)),
    cc.PSAC(r=1.0): lambda g: C / (g + 1.0 / (g + 1.0)),
    cc.AdaptiveQuantile(expected_batch_size=4, count_noise=0.0): lambda g: torch.where(g > C, C / g, 1.0),
    Function(torch.reciprocal): lambda g: torch.minimum(1 / g, C / g),
}
NORMS = torch.tensor([1e-12, 1e-3, 0.1, 0.29, 0.3, 0.31, 1.0, 7.5, 1e6, 1e12], dtype=torch.float64)


def named(values):
    """Parameters called by their class."""
    return [pytest.param(v, id=str(v)[:40]) for v in values]


@pytest.mark.parametrize("clipping", named(FORMULAS))
def test_the_factors_are_those_of_the_formula(clipping):
    """Up to the rounding of C."""
    torch.testing.assert_close(clipping.factors(NORMS, C), FORMULAS[clipping](NORMS), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("clipping", named(FORMULAS))
def test_no_factor_is_rounded_up(clipping, dtype):
    """c‖g‖ ≤ C exactly, in rational arithmetic, over bounds and norms of every magnitude."""
    generator = torch.Generator().manual_seed(3)
    exponents = torch.rand(2000, generator=generator) * 24 - 10
    norms, bounds = (10**exponents).to(dtype), (10 ** -exponents.flip(0) / 3).tolist()
    for norm, bound in zip(norms, bounds, strict=True):
        factor = clipping.factors(norm[None], bound)[0]
        assert Fraction(float(factor)) * Fraction(float(norm)) <= Fraction(bound)


@pytest.mark.parametrize("clipping", named(FORMULAS))
def test_a_step_clips_by_the_formula(clipping):
    """The generated program against the oracle; the contribution of every example is at most C."""
    step = cc.compile(model_of(), losses, max_grad_norm=C, clipping=clipping)
    batch = batch_of(9)
    assert step.verify(*batch) <= 1e-10
    result, _ = step.gradients(*batch)
    torch.testing.assert_close(result.clip_factors, FORMULAS[clipping](result.norms), rtol=1e-12, atol=0)
    assert (result.clip_factors * result.norms <= C).all()
    assert step.sensitivity.add_remove == C
    assert step.sensitivity.replace_one == 2 * C


def test_normalize_gives_a_gradient_of_zero_nothing():
    """0, where the formula is infinite; in float32 also where squares are lost."""
    assert cc.Normalize().factors(torch.tensor([0.0, 1e-30]), 1.0).tolist() == [0.0, 0.0]
    step = cc.compile(model_of(), lambda o, t: losses(o, t) * 0, clipping=cc.Normalize())
    result, sums = step.gradients(*batch_of(4))
    assert not result.clip_factors.any()
    assert not any(g.any() for g in sums.values())


@pytest.mark.parametrize("wrong", ["flat", 1.0, cc.Flat])
def test_what_is_no_clipping_is_refused(wrong):
    with pytest.raises(TypeError, match="clipping is"):
        cc.compile(model_of(), losses, clipping=wrong)


@pytest.mark.parametrize("make", [lambda: cc.Automatic(0), lambda: cc.PSAC(-1.0), lambda: cc.Automatic(math.nan)])
def test_a_smoothing_that_is_not_positive_is_refused(make):
    with pytest.raises(ValueError, match="above 0"):
        make()


@pytest.mark.parametrize("clipping", [cc.Automatic(), cc.Normalize(), cc.PSAC()])
def test_gradients_cannot_be_scaled_to_an_infinite_bound(clipping):
    with pytest.raises(ValueError, match="max_grad_norm is inf"):
        cc.compile(model_of(), losses, max_grad_norm=math.inf, clipping=clipping)


def test_clipping_is_fixed_when_the_step_is_made():
    step = cc.compile(model_of(), losses)
    with pytest.raises(AttributeError):
        step.clipping = cc.Normalize()
    assert "L2 over all trainable parameters: 1 under add/remove, 2 under replace-one" in str(step.sensitivity)
