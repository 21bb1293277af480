"""What cannot be promised is refused with the op, the user's line and a remedy, and .grad is left alone."""

import linecache
import textwrap

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

X, TARGET = torch.randn(4, 5), torch.randn(4)


class Net(nn.Module):
    """Linear, then what is given, named ``inner``."""

    def __init__(self, inner=None):
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.inner = inner or nn.Identity()

    def forward(self, x, *, mask=None):
        h = self.inner(self.fc(x))
        return h if mask is None else h * mask


def losses(output, target):
    """One loss an example."""
    return (output - target[:, None]).square().mean(1)


@torch.library.custom_op("clipcompiler_tests::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    """x / 2, as an op that torch knows nothing of."""
    return x / 2


@halved.register_fake
def _(x):
    return torch.empty_like(x)


halved.register_autograd(lambda ctx, g: g / 2)


class Halved(nn.Module):
    """The op without a rule."""

    def forward(self, x):
        return torch.ops.clipcompiler_tests.halved(x)


def root_of_mean(output, target):
    """A scalar that is no plain mean."""
    squares = (output - target[:, None]).square()
    return squares.mean().sqrt()


def a_loss_for_each_feature(output, target):
    """[N, 3]."""
    return (output - target[:, None]).square()


def refusal(kind, says, model=None, loss_fn=losses, batch=(X, TARGET), **options):
    """The refusal of a step; parameters have no gradient after it."""
    model = model or Net()
    with pytest.raises(kind, match=says) as caught:
        cc.compile(model, loss_fn)(*batch, **options)
    assert caught.value.remedy
    assert f"remedy: {caught.value.remedy}" in str(caught.value)
    assert all(p.grad is None for p in model.parameters())
    return caught.value


def assert_line(error, text):
    """The message names this file and a line of it that holds ``text``."""
    line = linecache.getline(__file__, error.origin.line)
    assert text in line
    assert f"source: {__file__}:{error.origin.line}: {line.strip()}" in str(error)


def test_batch_norm_in_training_mode():
    """The module's path, and the layers to use instead."""
    error = refusal(cc.ExamplesMixed, r"carries the examples|updated from the whole batch", Net(nn.BatchNorm1d(3)))
    assert "module: inner" in str(error)
    assert "GroupNorm" in error.remedy
    assert "eval" in error.remedy
    assert_line(error, "self.inner(self.fc(x))")


def test_batch_norm_in_eval_mode_is_no_refusal():
    """What the remedy says works."""
    model = Net(nn.BatchNorm1d(3))
    cc.compile(model.eval(), losses)(X, TARGET)
    assert model.inner.weight.grad is not None


def test_a_scalar_loss_that_is_no_sum_or_mean():
    """The op it ends in."""
    error = refusal(cc.UnsupportedLoss, "no plain sum or mean over examples: it ends in sqrt", loss_fn=root_of_mean)
    assert_line(error, "squares.mean().sqrt()")
    assert "reduction='none'" in error.remedy


def test_a_loss_of_the_wrong_shape():
    """The shape it has and the shape it should have."""
    error = refusal(cc.UnsupportedLoss, r"shape \[n, 3\].*must be \[n\]", loss_fn=a_loss_for_each_feature)
    assert_line(error, "return (output - target[:, None]).square()")
    assert "mean(1)" in error.remedy


def test_an_op_without_a_rule():
    """The op's own name, the module that calls it, and how to give it a rule."""
    error = refusal(cc.NoRule, "clipcompiler_tests.halved", Net(Halved()))
    assert "module: inner" in str(error)
    assert_line(error, "torch.ops.clipcompiler_tests.halved(x)")
    assert "op_rule" in error.remedy


def test_an_op_without_a_rule_is_told_how_to_get_one():
    """The lines of the remedy, pasted, are the rule."""
    error = refusal(cc.NoRule, "clipcompiler_tests.halved", Net(Halved()))
    lines = error.remedy.partition("\n\n")[2].rpartition("\n\n")[0]
    scope = {"torch": torch}
    exec(textwrap.dedent(lines), scope)
    step = cc.compile(Net(Halved()).double(), losses, rules=cc.default_rules | cc.RuleSet([scope["rule"]]))
    assert step.verify(X.double(), TARGET.double()) <= 1e-9


def test_an_op_with_a_rule_of_ones_own_is_no_refusal():
    """What the remedy says works."""

    @cc.op_rule(torch.ops.clipcompiler_tests.halved.default)
    def halves(x):
        """y[n,s] = x[n,s] / 2"""
        return cc.dsl.pointwise(None, x)

    model = Net(Halved()).double()
    step = cc.compile(model, losses, rules=cc.default_rules | cc.RuleSet([halves]))
    assert step.verify(X.double(), TARGET.double()) < 1e-10


@pytest.mark.parametrize("place", ["argument 0", "target", "keyword mask"])
def test_an_input_without_a_batch_dimension(place):
    """Which one, and the line of the call."""
    one = torch.tensor(2.0)
    batch = (one, TARGET) if place == "argument 0" else (X, one) if place == "target" else (X, TARGET)
    options = {"mask": one} if place == "keyword mask" else {}
    error = refusal(cc.InvalidBatch, f"{place}.* has no batch dimension", batch=batch, **options)
    assert_line(error, "cc.compile(model, loss_fn)(*batch, **options)")


def test_targets_of_another_batch_size():
    """Both sizes."""
    error = refusal(
        cc.InvalidBatch, "different numbers of examples: argument 0 has 4.*target.* has 3", batch=(X, TARGET[:3])
    )
    assert_line(error, "cc.compile(model, loss_fn)(*batch, **options)")


def test_a_mask_of_another_batch_size():
    """Keyword arguments are part of the batch."""
    refusal(cc.InvalidBatch, r"keyword mask.* has 1\b", mask=torch.ones(1, 3))


def test_no_target_and_no_tensor():
    """How the step is called."""
    assert "call step(inputs, target)" in str(refusal(cc.InvalidBatch, "without a target", batch=(X,)))
    refusal(cc.InvalidBatch, "no tensor", batch=())


def test_a_numpy_array():
    """Tensors only."""
    assert "torch.as_tensor" in refusal(cc.InvalidBatch, "numpy array", batch=(X.numpy(), TARGET)).remedy


@pytest.mark.parametrize("number", [float("nan"), -1.0, -float("inf")])
def test_a_bound_that_is_no_bound(number):
    """At compile and when it is set later; the old bound stays."""
    with pytest.raises(ValueError, match=rf"max_grad_norm is {number}: give a number ≥ 0"):
        cc.compile(Net(), losses, max_grad_norm=number)
    step = cc.compile(Net(), losses, max_grad_norm=2.0)
    with pytest.raises(ValueError, match="give a number ≥ 0"):
        step.max_grad_norm = number
    assert step.max_grad_norm == 2.0


def test_bounds_at_the_ends():
    """0 keeps nothing, infinity clips nothing."""
    step = cc.compile(Net(), losses, max_grad_norm=0)
    result, sums = step.gradients(X, TARGET)
    assert not result.clip_factors.any()
    assert not any(g.any() for g in sums.values())
    step.max_grad_norm = float("inf")
    assert step.gradients(X, TARGET)[0].clip_factors.eq(1).all()


class Branching(nn.Module):
    """A path chosen by the values of the batch."""

    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


def test_a_branch_on_values():
    """Not one graph."""
    error = refusal(cc.UntraceableModel, "torch.export cannot trace the model", Net(Branching()))
    assert "torch.where" in error.remedy
    assert_line(error, "if x.sum() > 0:")


def test_an_input_changed_in_place():
    """The step would change the user's tensor, or would not."""
    model = Net()
    model.register_forward_pre_hook(lambda module, args: (args[0].add_(1),))
    assert "clone" in refusal(cc.UntraceableModel, "changes its input .* in place", model).remedy


def test_what_is_no_module():
    """A TypeError at compile, for it is a mistake of the call."""
    with pytest.raises(TypeError, match=r"give a torch.nn.Module"):
        cc.compile(F.relu, losses)


def test_every_refusal_is_a_compile_error():
    """One except clause catches them all."""
    kinds = (cc.ExamplesMixed, cc.NoRule, cc.UnsupportedLoss, cc.UntraceableModel, cc.InvalidBatch)
    assert all(issubclass(kind, cc.CompileError) for kind in kinds)
