"""Ops without a rule, replaced by the ops that torch composes them of."""

import pytest
import torch
from comparison import assert_exact
from torch import Tensor, nn
from torch._decomp import register_decomposition
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.dsl import layers

LIBRARY = torch.library.Library("composed", "DEF")


def composite(name, function, schema="(Tensor x, Tensor w) -> Tensor"):
    """An op that is other ops, in eager mode too."""
    LIBRARY.define(f"{name}{schema}")
    LIBRARY.impl(name, function, "CompositeImplicitAutograd")
    return getattr(torch.ops.composed, name)


scored = composite("scored", lambda x, w: torch.softmax(x * w, -1) + x.mean(-1, keepdim=True))
again = composite("again", lambda x, w: torch.ops.composed.scored(nested(x, w), w))
nested = composite("nested", lambda x, w: torch.ops.composed.scored(x.exp(), w) * w)
centred = composite("centred", lambda x, w: x * w - x.mean(0))
sampled = composite("sampled", lambda x, w: torch.ops.composed.scored(x, w) * torch.rand_like(x))


branching = composite("branching", lambda x, w: x * w if x.shape[0] > 7 else x * w * 2)


class Calls(nn.Module):
    """One call of a function of the batch and a weight."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.rand(4).double())

    def forward(self, x):
        return self.function(x, self.weight)


def squares(output, target):
    """One loss an example."""
    return (output.flatten(1) - target[:, None]).square().mean(1)


def batch_of(size):
    return torch.randn(size, 3, 4).double(), torch.randn(size).double()


def assert_exact_at_all_sizes(model):
    step = cc.compile(model, squares)
    for size in (0, 1, 2, 5):
        step.max_grad_norm = 0.5
        assert_exact(step, batch_of(size))
    return step


COMPOSED = {
    "an op of one's own": lambda x, w: scored(x, w),
    "an op of such ops": lambda x, w: nested(x, w),
    "parts that come back": lambda x, w: again(scored(x, w), w),
    "over merged rows": lambda x, w: nested(x.flatten(0, 1), w).view(-1, 3, 4),
    "time first": lambda x, w: nested(x.transpose(0, 1), w).transpose(0, 1),
    "an op of torch": lambda x, w: torch.cat(torch.std_mean(x * w, -1), 1),
    "among others": lambda x, w: scored(x, w).sin() + F.linear(x, w[None]),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_exact(name):
    """The parts have rules."""
    assert "composed" not in assert_exact_at_all_sizes(Calls(COMPOSED[name])).source


def test_what_is_computed_without_gradients_stays_so():
    def function(x, w):
        with torch.no_grad():
            gate = scored(x, w)
        return gate * w + scored(x, w).detach()

    assert_exact_at_all_sizes(Calls(function))


def test_a_part_that_mixes_examples_is_refused_at_the_line_of_the_whole():
    with pytest.raises(cc.ExamplesMixed, match="mean over dim 0") as refusal:
        cc.compile(Calls(lambda x, w: centred(x, w)), squares, example_inputs=batch_of(2))
    assert "a part of composed.centred.default" in str(refusal.value)
    assert "centred(x, w)" in refusal.value.origin.code


def test_parts_that_branch_on_the_batch_size_are_refused():
    with pytest.raises(cc.CompileError):
        cc.compile(Calls(lambda x, w: branching(x, w)), squares, example_inputs=batch_of(2))


def test_a_rule_goes_before_the_parts():
    """The op stays whole where one speaks of it."""

    @cc.op_rule(torch.ops.composed.scored.default)
    def rule(x, w):
        """y[n,s] = f(x[n,:], w)"""
        return cc.dsl.mixes(x, [-1])

    step = cc.compile(Calls(lambda x, w: scored(x, w)), squares, rules=cc.default_rules | cc.RuleSet([rule]))
    assert_exact(step, batch_of(3))
    assert "torch.ops.composed.scored" in step.source


@torch.library.custom_op("composed::straight_through", mutates_args=())
def straight_through(x: Tensor, w: Tensor) -> Tensor:
    """round(x) w, with the gradient of x w."""
    return x.round() * w


straight_through.register_fake(lambda x, w: torch.empty_like(x))
straight_through.register_autograd(
    lambda ctx, y: (y * ctx.w, (y * ctx.x).flatten(0, -2).sum(0)),
    setup_context=lambda ctx, inputs, output: (setattr(ctx, "x", inputs[0]), setattr(ctx, "w", inputs[1])),
)


@register_decomposition([torch.ops.composed.straight_through.default])
def rounded(x, w):
    """The value, but not the gradient."""
    return x.round() * w


@torch.library.custom_op("composed::absolute", mutates_args=())
def absolute(x: Tensor, w: Tensor) -> Tensor:
    """|x| w"""
    return x.abs() * w


absolute.register_fake(lambda x, w: torch.empty_like(x))
absolute.register_autograd(
    lambda ctx, y: (y * ctx.w * ctx.x.sign(), (y * ctx.x.abs()).flatten(0, -2).sum(0)),
    setup_context=lambda ctx, inputs, output: (setattr(ctx, "x", inputs[0]), setattr(ctx, "w", inputs[1])),
)


@register_decomposition([torch.ops.composed.absolute.default])
def mistaken(x, w):
    """True of positive numbers only."""
    return x * w


def test_mistaken_parts_are_not_taken():
    """They differ for negative numbers."""
    with pytest.raises(cc.NoRule, match=r"no rule says where composed\.absolute"):
        cc.compile(Calls(lambda x, w: absolute(x, w)), squares, example_inputs=batch_of(2))


def test_an_op_with_a_gradient_of_its_own_stays_whole():
    """Its parts have another one."""
    with pytest.raises(cc.NoRule, match=r"no rule says where composed\.straight_through"):
        cc.compile(Calls(lambda x, w: straight_through(x, w)), squares, example_inputs=batch_of(2))


WITHOUT_RECURRENT = cc.RuleSet(r for r in cc.default_rules if layers.lstm_layer.default not in r.overloads())


def test_a_recurrent_layer_stays_whole():
    """Its shapes are found by one step alone, of which no part may remain."""
    model = nn.Sequential(nn.LSTM(4, 2, batch_first=True), First()).double()
    with pytest.raises(cc.NoRule, match=r"no rule says where clipcompiler\.lstm_layer"):
        cc.compile(model, squares, rules=WITHOUT_RECURRENT, example_inputs=batch_of(2))


class First(nn.Module):
    """The outputs of a recurrent layer."""

    def forward(self, both):
        return both[0]


def test_parts_that_draw_have_rules():
    """They are what the op does in eager mode."""
    step = cc.compile(Calls(lambda x, w: sampled(x, w)), squares, example_inputs=batch_of(2))
    assert "rand_like" in step.source
