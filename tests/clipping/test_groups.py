"""Parameters clipped in groups: each to its own bound, against the oracle."""

import math

import pytest
import torch
from clipping_examples import C, batch_of, losses, model_of
from torch import nn

import clipcompiler as cc
from clipcompiler.clipping import Function
from clipcompiler.verify import oracle, relative, relative_sums

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


def test_a_model_without_trained_parameters_has_one_group_of_norm_zero():
    """Nothing to clip: no sum, and norms of zero."""
    model = model_of().requires_grad_(False)
    result, gradients = cc.compile(model, losses, clipping=cc.PerLayer()).gradients(*batch_of(3))
    assert gradients == {}
    assert result.norms.shape[0] == 3
    assert not result.norms.any()
