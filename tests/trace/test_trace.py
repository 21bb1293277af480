"""Traces: what is told apart, what is refused, what is named."""

import pytest
import torch
from torch import nn

import clipcompiler as cc
from clipcompiler.trace import trace

LOSS = nn.CrossEntropyLoss(reduction="none")
BATCH = torch.zeros(3, 4), torch.zeros(3, dtype=torch.long)


class Tied(nn.Module):
    """Two names of one weight, a buffer, a constant made in the forward, an unused layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(1, 1)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.ones(4))

    def forward(self, features):
        return self.b(self.a(features)) * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_placeholders_are_told_apart():
    """One placeholder for each parameter object, the batch under the user's own names."""
    traced = trace(Tied(), LOSS, BATCH)
    assert traced.inputs == ("features", "target")
    assert sorted(p.name for p in traced.parameters.values()) == [
        "a.bias",
        "a.weight",
        "b.bias",
        "unused.bias",
        "unused.weight",
    ]
    assert "scale" in traced.buffers.values()
    assert len(traced.constants) == 1


@pytest.mark.parametrize("size", [0, 1, 3, 64])
def test_the_batch_size_of_the_first_batch_leaves_no_trace(size):
    """The same graph whatever batch it was traced with."""
    batch = torch.zeros(size, 4), torch.zeros(size, dtype=torch.long)
    texts = {str(trace(Tied(), LOSS, b).graph) for b in (batch, BATCH)}
    assert len(texts) == 1


def test_an_op_knows_its_module_and_the_users_line():
    """Also in a helper that the forward calls, and in a loss function."""

    def loss(output, target):
        return (output - target[:, None]).square().mean(1)  # the loss's own line

    traced = trace(Tied(), loss, BATCH)
    origins = {str(node.target): traced.origin(node) for node in traced.ops()}
    assert origins["aten.linear.default"].module_path in ("a", "b")
    assert "self.b(self.a(features))" in origins["aten.linear.default"].code
    assert "the loss's own line" in origins["aten.mean.dim"].code
    assert origins["aten.mean.dim"].file == __file__


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x.sum(1)
        return x.mean(1)


class BranchOnSize(nn.Module):
    def forward(self, x):
        return x.sum(1) if x.shape[0] == 1 else x.mean(1)


class InPlace(nn.Module):
    def forward(self, x):
        x.add_(1)
        return x.sum(1)


class Fixed(nn.Module):
    def forward(self, x):
        return x.view(3, -1).sum(1)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class OwnBackward(nn.Module):
    def forward(self, x):
        return Double.apply(x).sum(1)


class Hooked(nn.Module):
    def forward(self, x):
        y = x * 2
        y.register_hook(lambda gradient: gradient * 0)
        return y.sum(1)


class Inference(nn.Module):
    def forward(self, x):
        with torch.inference_mode():
            y = x * 2
        return y.sum(1)


@pytest.mark.parametrize(
    ("model", "says", "line"),
    [
        (Branch, "depends on the values of a tensor", "if x.sum() > 0"),
        (BranchOnSize, "branches on the batch size", "x.shape[0] == 1"),
        (InPlace, "changes its input", ""),
        (Fixed, "cannot trace the model|batch size", "x.view(3, -1)"),
        (OwnBackward, "a backward of its own", "Double.apply(x)"),
        (Hooked, "registers a hook", "y.register_hook"),
        (Inference, "inference_mode", "with torch.inference_mode()"),
    ],
)
def test_what_no_graph_can_hold_is_refused(model, says, line):
    """UntraceableModel, with the user's line and a remedy."""
    with pytest.raises(cc.UntraceableModel, match=says) as refusal:
        cc.compile(model(), example_inputs=(torch.randn(3, 4, requires_grad=False),))
    assert line in str(refusal.value)
    assert "remedy:" in str(refusal.value)


def test_a_region_without_gradients_stays_without():
    """with torch.no_grad(): its parameters get no gradient, and those behind it an exact one."""

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4).double(), nn.Linear(4, 4).double()

        def forward(self, x):
            with torch.no_grad():
                h = self.a(x).relu()
            return self.b(h).square().sum(1)

    step = cc.compile(Frozen())
    assert step.verify(torch.randn(5, 4, dtype=torch.float64)) < 1e-12
    assert "the loss does not depend on it" in str(step.plan)


def test_dropout_draws_as_the_model_does():
    """The same seed gives the same masks as the module itself in train mode, and exact norms for them."""
    model = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 3)).double()
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.randint(0, 3, (8,))
    step = cc.compile(model, LOSS, max_grad_norm=0.3, example_inputs=(x, y))
    torch.manual_seed(3)
    result, gradients = step.gradients(x, y)
    torch.manual_seed(3)
    losses = LOSS(model(x), y)
    each = [torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for loss in losses]
    norms = torch.stack([torch.cat([g.flatten() for g in gs]).norm() for gs in each])
    torch.testing.assert_close(result.losses, losses.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(result.norms, norms, rtol=1e-10, atol=0)
    expected = sum(c * gs[0] for c, gs in zip(result.clip_factors, each, strict=True))
    torch.testing.assert_close(gradients["0.weight"], expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(cc.VerificationError, match="draws at random"):
        step.verify(x, y)
