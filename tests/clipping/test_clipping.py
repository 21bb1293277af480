"""Every clipping function against its own formula, and its contribution against its sensitivity."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.clipping import Function
from clipcompiler.verify import oracle, relative, relative_sums

C = 0.3
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


def batch_of(size, dtype=torch.float64):
    """Inputs of very different sizes, and classes."""
    scale = torch.logspace(-3, 2, size).to(dtype)
    return scale[:, None] * torch.randn(size, 6, dtype=dtype), torch.randint(0, 3, (size,))


def model_of(inputs=6, width=5):
    """Two layers, each under a name."""
    model = nn.Sequential()
    model.add_module("body", nn.Linear(inputs, width))
    model.add_module("act", nn.Tanh())
    model.add_module("head", nn.Linear(width, width))
    return model.double()


def losses(output, target):
    """Cross-entropy of each example."""
    return F.cross_entropy(output, target, reduction="none")


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


GROUPED = {
    "per layer": cc.PerLayer(),
    "per layer, normalised": cc.PerLayer(cc.Normalize()),
    "named": cc.PerGroup({"body": 0.5, "head": 2.0}),
    "a parameter by itself": cc.PerGroup({"head.bias": 0.1, "head": 1.0, "*": 0.7}),
    "the rest, automatic": cc.PerGroup({"head.weight": 1.0, "*": 0.25}, how=cc.Automatic(0.1)),
    "a function": cc.PerGroup({"body": 1.0, "head": 1.0}, how=Function(lambda norms: 0.5 / (1 + norms))),
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_clipped_apart(name):
    """Norms, factors and sums of every group against the oracle; each group keeps to its own bound."""
    clipping = GROUPED[name]
    step = cc.compile(model_of(), losses, max_grad_norm=C, clipping=clipping)
    for size in (1, 2, 9):
        batch = batch_of(size)
        assert step.verify(*batch) <= 1e-10
        result, sums = step.gradients(*batch)
        truth = oracle(step.model, losses, batch, max_grad_norm=C, clipping=clipping)
        assert result.norms.shape == result.clip_factors.shape == (size, len(result.groups))
        assert relative(result.norms, truth.norms) <= 1e-10
        assert relative(result.clip_factors, truth.clip_factors) <= 1e-10
        assert relative_sums(sums, truth.gradients) <= 1e-10
    groups = clipping.groups([n for n, _ in step.model.named_parameters()])
    bounds = torch.tensor([group.share * C for group in groups])
    assert (result.clip_factors * result.norms <= bounds * (1 + 1e-6)).all()
    assert step.sensitivity.add_remove == pytest.approx(float(bounds.square().sum().sqrt()))
    assert result.groups == tuple(group.name for group in groups)
    assert step.gradients(*batch_of(0))[0].norms.shape == (0, len(groups))


def test_layers_share_the_bound():
    """√Σ C_g² = C."""
    step = cc.compile(model_of(64, 64), losses, max_grad_norm=C, clipping=cc.PerLayer())
    step(torch.randn(3, 64).double(), torch.arange(3))
    assert [c.order.value for c in step.plan.choices] == ["rank one", "folded"] * 2
    assert step.sensitivity.add_remove == pytest.approx(C)
    assert "by group" in step.source


@pytest.mark.parametrize("how", [cc.Flat(), cc.Normalize(), cc.Automatic(0.1)])
@pytest.mark.parametrize("name", ["*", "body"])
def test_one_group_keeps_to_its_own_bound(name, how):
    """C_g = 0.5 C for all parameters: the contribution of an example alone is at most that, as is promised."""
    model = model_of()
    if name == "body":
        model.head.requires_grad_(False)
    step = cc.compile(model, losses, max_grad_norm=C, clipping=cc.PerGroup({name: 0.5}, how=how))
    x, target = batch_of(5)
    result, sums = step.gradients(50 * x, target)
    assert step.sensitivity.add_remove == 0.5 * C
    assert (result.clip_factors * result.norms).max() <= 0.5 * C
    assert torch.stack([v.square().sum() for v in sums.values()]).sum().sqrt() <= 5 * 0.5 * C
    assert step.verify(50 * x, target) <= 1e-10
    truth = oracle(model, losses, (50 * x, target), max_grad_norm=C, clipping=step.clipping)
    assert (truth.clip_factors * truth.norms).max() <= 0.5 * C


def test_a_bias_of_another_group_is_not_folded_in():
    """Its square belongs to other norms."""
    clipping = cc.PerGroup({"body.bias": 1.0, "*": 1.0})
    step = cc.compile(model_of(64, 64), losses, clipping=clipping)
    assert step.verify(torch.randn(3, 64).double(), torch.arange(3)) <= 1e-10
    assert [step.plan[name].order.value for name in ("body.bias", "head.bias")] == ["instantiate, keep", "folded"]


def test_a_group_that_the_loss_does_not_reach_has_norm_zero():
    model = model_of()
    model.register_module("spare", nn.Linear(2, 2).double())
    step = cc.compile(Used(model), losses, clipping=cc.PerGroup({"of.spare": 1.0, "*": 1.0}))
    result, sums = step.gradients(*batch_of(3))
    assert not result.norms[:, 0].any()
    assert not sums["of.spare.weight"].any()
    assert step.verify(*batch_of(3)) <= 1e-10


class Used(nn.Module):
    """A sequence without its last module."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of.head(self.of.act(self.of.body(x)))


def test_a_parameter_without_a_group_is_refused():
    with pytest.raises(ValueError, match=r"body\.weight belongs to no group"):
        cc.compile(model_of(), losses, clipping=cc.PerGroup({"head": 1.0})).gradients(*batch_of(3))
    with pytest.raises(ValueError, match="no trainable parameter belongs to the group neck"):
        cc.compile(model_of(), losses, clipping=cc.PerGroup({"neck": 1.0, "*": 1.0})).gradients(*batch_of(3))


@pytest.mark.parametrize("bounds", [{}, {"*": 0.0}, {"*": -1.0}, {"*": math.inf}])
def test_bounds_that_bound_nothing_are_refused(bounds):
    with pytest.raises(ValueError, match="above 0"):
        cc.PerGroup(bounds)


def test_groups_within_groups_are_refused():
    with pytest.raises(ValueError, match="groups cannot be clipped by PerLayer"):
        cc.PerGroup({"*": 1.0}, how=cc.PerLayer())


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


def test_clipping_is_fixed_when_the_step_is_made():
    step = cc.compile(model_of(), losses)
    with pytest.raises(AttributeError):
        step.clipping = cc.Normalize()
    assert "L2 over all trainable parameters: 1 under add/remove, 2 under replace-one" in str(step.sensitivity)
