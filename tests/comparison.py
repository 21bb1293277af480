"""A compiled step held against one backward pass an example."""

import pytest
import torch

import clipcompiler as cc
from clipcompiler.verify import oracle, relative, relative_sums

#: The largest relative error of norms and clipped sums that the project promises.
PROMISED = {torch.float64: 1e-10, torch.float32: 1e-5}


def median_norm(model, loss_fn, batch):
    """C at which about half of the examples are clipped.

    A little above the median: two gradients cut to the very norm of one of them could cancel to their rounding.
    """
    norms = oracle(model, loss_fn, batch).norms
    return 1.01 * float(norms.median()) if len(norms) else 1.0


def assert_exact(step, batch, dtype=torch.float64, **options):
    """Losses, norms, clip factors and clipped sums equal the oracle's, within what is promised for the dtype."""
    result, gradients = step.gradients(*batch, **options)
    truth = oracle(step.model, step.loss_fn, batch, options, max_grad_norm=step.max_grad_norm)
    bound = PROMISED[dtype]
    assert relative(result.norms, truth.norms) <= bound
    assert relative(result.clip_factors, truth.clip_factors) <= bound
    assert relative_sums(gradients, truth.gradients) <= bound
    torch.testing.assert_close(result.losses.double(), truth.losses, rtol=10 * bound, atol=10 * bound)


def compiled(model, loss_fn, batch):
    """The step of a model with C at the median norm of a batch."""
    return cc.compile(model, loss_fn, max_grad_norm=median_norm(model, loss_fn, batch))


def mostly_slow(cases, every=5, *, several=False):
    """Every fifth case, from the first on, in the ordinary suite, the others marked slow.

    ``several`` says that a case is several arguments.
    """
    cases = list(cases)
    slow = pytest.mark.slow
    return [
        c if k % every == 0 else pytest.param(*c, marks=slow) if several else pytest.param(c, marks=slow)
        for k, c in enumerate(cases)
    ]
