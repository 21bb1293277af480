"""The audit finds no violation in the models of this suite, and finds those that are made on purpose."""

import copy
import dataclasses
import math
import re

import pytest
import test_losses
import test_paper_models
import test_parameter_uses
import torch
from apart import APART
from comparison import mostly_slow
from hypothesis import given, settings
from patterns import Pattern, batch_of, losses
from test_random_models import convolutional, feed_forward
from torch import nn

import clipcompiler as cc
from clipcompiler.runtime.batch import cast

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")
#: By how much of C a contribution may exceed it: the sums are accumulated, and returned, in float32.
BEYOND = 1e-5
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
#: name: (forward of (model, x), parts, shape of one example)
PATTERNS = {name: pattern[1:] for name, pattern in APART.items()} | test_parameter_uses.EVERY

#: The dtypes that the ops of a pattern lack.
WITHOUT = {
    "a cast to its own precision": (torch.float32, torch.bfloat16),
    "Fourier transform of time": (torch.bfloat16,),
    "distances within an example": (torch.bfloat16,),
}


def assert_held(model, loss_fn, batch, dtype, examples=1):
    """C at a third of the median norm, so that nearly all is clipped; the worst contribution is within the bound."""
    model, batch = copy.deepcopy(model).to(dtype), tuple(cast(t, dtype) for t in batch)
    step = cc.compile(model, loss_fn)
    step.max_grad_norm = float(step.gradients(*batch)[0].norms.median()) / 3 or 1.0
    audit = step.audit(*batch, examples=examples)
    assert audit.passed, f"\n{audit}"
    sharp = [f for f in audit.findings if f.search in ("alone", "extreme", "climb")]
    assert len(sharp) == 3
    assert all(f.trials > f.refused and f.share <= 1 + BEYOND for f in sharp)


@DTYPES
@pytest.mark.parametrize("name", mostly_slow(test_paper_models.MODELS, every=3))
def test_the_papers_models_hold_their_bound(name, dtype):
    """No example contributes more than C, however extreme."""
    model, batch = test_paper_models.model_of(name, dtype), test_paper_models.batch_of(name, 4, dtype)
    assert_held(model, CROSS_ENTROPY, batch, dtype, examples=2)


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", PATTERNS)
def test_every_exact_pattern_holds_its_bound(name, dtype):
    """Layouts and uses of parameters, in low precision too."""
    forward, parts, shape = PATTERNS[name]
    if dtype in WITHOUT.get(name, ()):
        pytest.skip("torch itself does not run it in this dtype")
    assert_held(Pattern(forward, **parts), losses, batch_of(4, shape), dtype)


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", test_losses.LOSSES)
def test_every_loss_holds_its_bound(name, dtype):
    """The losses of torch.nn.functional, their targets made extreme too."""
    function, targets = test_losses.LOSSES[name]

    def loss_fn(output, target):
        loss = function(output, target, reduction="none")
        return loss.flatten(1).mean(1) if loss.dim() > 1 else loss

    batch = torch.randn(4, 5, dtype=torch.float64), targets(4)
    if dtype is torch.bfloat16 and name == "multilabel_margin_loss":
        pytest.skip("torch has no bfloat16 kernel for it")
    assert_held(test_losses.model(), loss_fn, batch, dtype)


@pytest.mark.slow
@DTYPES
@settings(max_examples=10)
@given(drawn=feed_forward() | convolutional())
def test_random_models_hold_their_bound(dtype, drawn):
    """Feed-forward and convolutional ones."""
    model, shape = drawn
    assert_held(model, CROSS_ENTROPY, (torch.randn(4, *shape), torch.randint(0, 3, (4,))), dtype)


def spread(output, target):
    """The variance over positions: a part that all positions share changes nothing."""
    return 1e3 * (output - output.mean(1, keepdim=True)).square().mean((1, 2))


@DTYPES
def test_a_part_that_all_positions_share_is_held(dtype):
    """Gram norms of x + 1e6: the norm is a small difference of large numbers."""
    assert_held(nn.Linear(64, 64), spread, (torch.randn(4, 2, 64), torch.zeros(4)), dtype, examples=4)


def small_model():
    """Two layers."""
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def small(size=5):
    """A step and a batch of which every example is clipped."""
    step = cc.compile(small_model(), CROSS_ENTROPY, max_grad_norm=0.05)
    return step, (torch.randn(size, 5), torch.randint(0, 3, (size,)))


def clipped_by(monkeypatch, step, clip):
    """The step with other clip factors: clip(norms [N], gradients by name [N, …], C) → norms, factors."""
    honest = step.gradients

    def gradients(x, target):
        bound = step.max_grad_norm
        try:
            step.max_grad_norm = math.inf
            alone = [honest(x[n : n + 1], target[n : n + 1]) for n in range(len(x))]
        finally:
            step.max_grad_norm = bound
        values = [torch.cat([getattr(r, k) for r, _ in alone]) for k in ("losses", "norms")]
        each = {name: torch.stack([g[name] for _, g in alone]) for name in alone[0][1]}
        norms, factors = clip(values[1], each, bound)
        sums = {name: torch.tensordot(factors, g, 1) for name, g in each.items()}
        return cc.ClippedGradients(values[0], norms, factors), sums

    monkeypatch.setattr(step, "gradients", gradients)


def truly(norms, each, bound):
    """min(1, C/‖g‖)"""
    return norms, (bound / norms).clamp(max=1)


def without_a_weight(norms, each, bound):
    """‖g‖ without one parameter."""
    norms = sum(g.flatten(1).square().sum(1) for name, g in each.items() if name != "0.weight").sqrt()
    return norms, (bound / norms).clamp(max=1)


def largest_doubled(norms, each, bound):
    """2C for the example of the largest norm."""
    return norms, (bound / norms).clamp(max=1) * torch.where(norms == norms.max(), 2, 1)


def last_of_many_doubled(norms, each, bound):
    """2C for the last example, but not where it is alone."""
    factors = (bound / norms).clamp(max=1)
    factors[-1] *= 2 if len(norms) > 1 else 1
    return norms, factors


def norms_of_the_batch(norms, each, bound):
    """A norm that reads the other examples, and is never too small."""
    return norms + norms.mean(), (bound / (norms + norms.mean())).clamp(max=1)


def rounded_up(norms, each, bound):
    """Beyond C by 1e-4."""
    return norms, (bound / norms).clamp(max=1) * 1.0001


def a_large_norm_lost(norms, each, bound):
    """A norm above 100 is taken for 0."""
    return torch.where(norms > 100, 0, norms), torch.where(norms > 100, 1, (bound / norms).clamp(max=1))


def poisoned(norms, each, bound):
    """A NaN in the sum beside finite norms."""
    each["0.bias"][:, 0] = math.nan
    return truly(norms, each, bound)


def failing(norms, each, bound):
    """Another exception than the refusal."""
    raise RuntimeError("sizes do not match")


#: name of the search that must find it: the tampered clipping, and the least share
TAMPERED = {
    "a weight left out of the norm": (without_a_weight, "alone", 1.1),
    "C doubled for one example": (largest_doubled, "alone", 1.99),
    "C doubled in a batch alone": (last_of_many_doubled, "remove one", 1.1),
    "a norm of the batch": (norms_of_the_batch, "replace one", 1.001),
    "a factor rounded up": (rounded_up, "alone", 1.00009),
    "a large norm lost": (a_large_norm_lost, "extreme", 100),
    "a NaN in the sum": (poisoned, "alone", math.inf),
    "an exception": (failing, "alone", math.inf),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_violation_is_found(monkeypatch, name):
    """By the search that is to find it, as large as it is."""
    clip, search, least = TAMPERED[name]
    step, batch = small()
    clipped_by(monkeypatch, step, clip)
    audit = step.audit(*batch, examples=2)
    found = next(f for f in audit.findings if f.search == search)
    assert not found.passed
    assert found.share >= least
    assert not audit.passed
    assert float(audit) == audit.worst > audit.bound
    assert "VIOLATED" in str(audit)


def test_the_same_without_tampering_passes(monkeypatch):
    """The clipping that the tampered ones are made from."""
    step, batch = small()
    clipped_by(monkeypatch, step, truly)
    audit = step.audit(*batch, examples=2)
    assert audit.passed, f"\n{audit}"


def test_a_program_that_forgets_a_norm_is_found():
    """The weight of the first layer struck out of the squared norms of the generated program."""
    step, batch = small()
    step.prepare(*batch)
    ((key, found),) = step._programs.items()
    source, struck = re.subn(r"vectors_each\.square\(\)", "vectors_each[:, 40:].square()", found.program.source)
    assert struck
    program = dataclasses.replace(found.program, source=source)
    fitted = dataclasses.replace(found.fitted, program=program)
    step._programs[key] = dataclasses.replace(found, fitted=fitted, sizes={})
    audit = step.audit(*batch, examples=1)
    assert not audit.passed
    assert audit.worst > 1.05


def test_the_report_names_the_worst():
    """One line a search; the worst with its example, its bound and the number of trials."""
    step, batch = small()
    audit = step.audit(*batch, examples=2)
    assert [f.search for f in audit.findings] == ["alone", "remove one", "replace one", "extreme", "climb"]
    assert [f.trials for f in audit.findings][:2] == [5, 5]
    assert audit.trials == sum(f.trials for f in audit.findings)
    assert 0.999 < float(audit) <= audit.bound
    lines = str(audit).splitlines()
    assert len(lines) == 2 + 5 + 1
    assert lines[-1].startswith("passed: ")
    assert "C = 0.05" in lines[-1]


def test_what_is_refused_is_no_violation():
    """Infinities and NaN raise in the step; with nonfinite="drop" they contribute nothing."""
    step, batch = small()
    refusing = step.audit(*batch, examples=1)
    dropping = cc.compile(step.model, CROSS_ENTROPY, max_grad_norm=0.05, nonfinite="drop").audit(*batch, examples=1)
    assert refusing.passed
    assert dropping.passed
    extreme = {f.search: f for f in refusing.findings}["extreme"]
    assert 0 < extreme.refused < extreme.trials
    assert not any(f.refused for f in dropping.findings)


def test_what_the_model_itself_does_not_take_is_no_violation():
    """binary_cross_entropy asks for probabilities, and raises."""
    step = cc.compile(
        nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()),
        lambda o, t: nn.functional.binary_cross_entropy(o[:, 0], t, reduction="none"),
        max_grad_norm=0.05,
    )
    audit = step.audit(torch.randn(4, 5), torch.rand(4), examples=1)
    assert audit.passed, f"\n{audit}"
    assert {f.search: f for f in audit.findings}["extreme"].refused > 0


def test_nothing_else_changes():
    """.grad, the random state, the seed's results and the bound."""
    step, batch = small()
    step(*batch)
    before = [p.grad.clone() for p in step.model.parameters()]
    state = torch.get_rng_state()
    audits = [step.audit(*batch, examples=2, seed=3) for _ in range(2)]
    assert audits[0] == audits[1]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p.grad, g) for p, g in zip(step.model.parameters(), before, strict=True))
    assert step.max_grad_norm == 0.05


def test_a_model_that_draws_is_audited_with_the_same_draws():
    """Dropout in train mode: no removal, which would change the draws of the others; the rest holds."""
    step = cc.compile(
        nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train(), CROSS_ENTROPY, max_grad_norm=0.05
    )
    batch = torch.randn(5, 5), torch.randint(0, 3, (5,))
    state = torch.get_rng_state()
    audit = step.audit(*batch, examples=2)
    assert [f.search for f in audit.findings] == ["alone", "replace one", "extreme", "climb"]
    assert audit.passed, f"\n{audit}"
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_bound_there_is_nothing_to_hold():
    """C = 0 lets nothing through; C = ∞ promises nothing."""
    step, batch = small()
    step.max_grad_norm = 0
    assert step.audit(*batch, examples=1).worst == 0
    step.max_grad_norm = math.inf
    with pytest.raises(ValueError, match="finite bound"):
        step.audit(*batch)


CLIPPINGS = {
    "automatic": cc.Automatic(),
    "normalised": cc.Normalize(),
    "per sample adaptive": cc.PSAC(),
    "per layer": cc.PerLayer(),
    "by group": cc.PerGroup({"0": 3.0, "*": 0.5}),
    "a function": lambda norms: 1 / (0.1 + norms.sqrt()),
}


@pytest.mark.parametrize("name", CLIPPINGS)
def test_every_clipping_holds_its_sensitivity(name):
    """What ``step.sensitivity`` says under add/remove."""
    step = cc.compile(small_model(), CROSS_ENTROPY, max_grad_norm=0.05, clipping=CLIPPINGS[name])
    audit = step.audit(*small()[1], examples=2)
    assert audit.passed, f"\n{audit}"
    assert audit.sensitivity == step.sensitivity.add_remove
    assert audit.worst <= 1 + BEYOND


def test_units_hold_their_bound():
    """Units of two consecutive examples, whose loss couples them; units known at call time."""
    coupled = cc.compile(
        small_model(), lambda o, t: CROSS_ENTROPY(o + o.view(-1, 2, 3).flip(1).reshape(-1, 3), t),
        max_grad_norm=0.05, examples_per_unit=2,
    )  # fmt: skip
    audit = coupled.audit(*small(6)[1], examples=2)
    assert audit.passed, f"\n{audit}"
    step, batch = small(7)
    audit = step.audit(*batch, unit_ids=torch.tensor([4, 4, 1, 9, 4, 1, 9]), examples=2)
    assert audit.passed, f"\n{audit}"
    assert audit.findings[0].trials == 3


def test_an_empty_batch_and_a_batch_of_one():
    """Nothing to try, and one example against none."""
    step, _ = small()
    empty = step.audit(torch.randn(0, 5), torch.randint(0, 3, (0,)))
    assert (empty.worst, empty.passed) == (0, True)
    assert step.audit(torch.randn(1, 5), torch.randint(0, 3, (1,))).passed
