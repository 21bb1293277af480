"""A bound that follows a quantile of the norms."""

import math
from dataclasses import replace

import pytest
import torch
from clipping_examples import C, batch_of, losses, model_of

import clipcompiler as cc


def test_the_bound_follows_the_quantile():
    """C ← C exp(−η (b̃ − q)), step by step, with the noise of the same generator."""
    generator = torch.Generator().manual_seed(5)
    clipping = cc.AdaptiveQuantile(
        expected_batch_size=10, count_noise=2.0, quantile=0.3, learning_rate=0.5, generator=generator
    )
    step = cc.compile(model_of(), losses, max_grad_norm=C, clipping=clipping)
    noise = torch.randn(3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    bound = C
    for k in range(3):
        batch = batch_of(8)
        result, _ = step.gradients(*batch)
        assert step.max_grad_norm == bound
        step(*batch)
        share = (int((result.norms <= bound).sum()) + 2 * float(noise[k])) / 10
        bound *= math.exp(-0.5 * (share - 0.3))
        assert step.max_grad_norm == pytest.approx(bound, rel=1e-12)
    assert step.sensitivity == replace(step.sensitivity, add_remove=bound, replace_one=2 * bound, count=1.0)
    assert step.compilations == 1


def test_the_bound_comes_to_the_quantile_of_the_norms():
    """Half of the examples end below C, wherever it begins."""
    batch = batch_of(40)
    for start in (1e-3, 1e3):
        clipping = cc.AdaptiveQuantile(expected_batch_size=40, count_noise=0.0)
        step = cc.compile(model_of(), losses, max_grad_norm=start, clipping=clipping)
        for _ in range(300):
            result = step(*batch)
        assert abs(float((result.norms <= step.max_grad_norm).double().mean()) - 0.5) <= 0.05


@pytest.mark.parametrize(
    "given", [{"quantile": 1.5}, {"count_noise": -1.0}, {"expected_batch_size": 0}, {"learning_rate": 0}]
)
def test_an_adaptive_bound_out_of_range_is_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        cc.AdaptiveQuantile(**{"expected_batch_size": 8, "count_noise": 1.0, **given})
