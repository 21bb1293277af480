"""What a step leaves in .grad, and what it does not touch."""

import pytest
import torch
from torch import nn

import clipcompiler as cc


class Net(nn.Module):
    """A frozen layer, two trained ones, and one that the loss does not reach."""

    def __init__(self):
        super().__init__()
        self.frozen, self.body, self.head = nn.Linear(5, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        self.unreached = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.head(torch.tanh(self.body(self.frozen(x))))


def losses(output, target):
    """One loss an example."""
    return (output - target[:, None]).square().mean(1)


def batch(size=4, dtype=torch.float64):
    """Inputs and targets."""
    return torch.randn(size, 5, dtype=dtype), torch.randn(size, dtype=dtype)


@pytest.fixture
def step():
    """A step that has not run yet."""
    return cc.compile(Net().double(), losses, max_grad_norm=0.5)


def gradients(step):
    """Copies of .grad by name; None where there is none."""
    return {n: None if p.grad is None else p.grad.clone() for n, p in step.model.named_parameters()}


def test_without_clipping_it_is_backward(step):
    """C = ∞: Σ_n ∇ℓ_n, added to what .grad held."""
    step.max_grad_norm = float("inf")
    x, target = batch()
    for _ in range(2):
        step(x, target)
    found = gradients(step)
    step.model.zero_grad()
    for _ in range(2):
        losses(step.model(x), target).sum().backward()
    for name, p in step.model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-12, atol=1e-14)


def test_gradients_accumulate_in_place(step):
    """The tensor in .grad stays the same object, as with backward()."""
    x, target = batch()
    step(x, target)
    kept = step.model.body.weight.grad
    once = kept.clone()
    step(x, target)
    assert step.model.body.weight.grad is kept
    torch.testing.assert_close(kept, 2 * once)


def test_gradients_of_two_parameters_share_no_memory():
    """x + a + b: equal gradients, each its own."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))

        def forward(self, x):
            return x + self.a + self.b

    step = cc.compile(Sum().double(), losses)
    for _ in range(2):
        step(*batch(1))
    assert torch.equal(step.model.a.grad, step.model.b.grad)
    assert step.model.a.grad.data_ptr() != step.model.b.grad.data_ptr()


def test_frozen_parameters_are_untouched(step):
    """.grad stays None, or what it was; they are named in the plan."""
    step(*batch())
    assert step.model.frozen.weight.grad is None
    marked = torch.full_like(step.model.frozen.weight, 7.0)
    step.model.frozen.weight.grad = marked.clone()
    step(*batch())
    assert torch.equal(step.model.frozen.weight.grad, marked)
    assert "frozen.weight" in str(step.plan)


def test_unreached_parameters_get_zeros_and_a_line(step):
    """backward() would leave None; an optimizer that expects a gradient finds one."""
    step(*batch())
    assert step.model.unreached.weight.grad.shape == (2, 2)
    assert not step.model.unreached.weight.grad.any()
    line = next(line for line in str(step.plan).splitlines() if line.startswith("unreached.weight"))
    assert "the loss does not depend on it" in line
    step.model.unreached.weight.grad.fill_(3)
    step(*batch())
    assert step.model.unreached.weight.grad.eq(3).all()


def test_gradients_leaves_grad_alone(step):
    """The clipped sums are returned, not added."""
    _, sums = step.gradients(*batch())
    assert all(p.grad is None for p in step.model.parameters())
    assert set(sums) == {f"{m}.{p}" for m in ("body", "head", "unreached") for p in ("weight", "bias")}


def test_results_are_detached(step):
    """Also where the inputs require a gradient; theirs is not touched."""
    x, target = batch()
    x.requires_grad_()
    result = step(x * 1, target)
    assert not any(t.requires_grad for t in (result.losses, result.norms, result.clip_factors))
    step(x, target)
    assert x.grad is None
    assert not any(p.grad.requires_grad for p in step.model.parameters() if p.grad is not None)


def test_the_bound_may_change_without_compiling(step):
    """min(1, C/‖g_n‖) for each C."""
    x, target = batch()
    norms = step.gradients(x, target)[0].norms
    for bound in (0.0, 0.1, float(norms.median()), 1e9, float("inf")):
        step.max_grad_norm = bound
        result, _ = step.gradients(x, target)
        torch.testing.assert_close(result.clip_factors, (bound / norms).clamp(max=1), rtol=1e-12, atol=0)
    assert step.compilations == 1


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_runs_in_any_gradient_mode(step, context):
    """Also the first call, which traces."""
    with context():
        step(*batch())
    first = gradients(step)
    x, target = batch()
    with context():
        result, sums = step.gradients(x, target)
    expected, expected_sums = step.gradients(x, target)
    assert first["body.weight"].any()
    assert torch.equal(result.norms, expected.norms)
    assert all(torch.equal(sums[name], expected_sums[name]) for name in sums)
    assert step.compilations == 1


def test_an_empty_batch_adds_zeros(step):
    """N = 0: empty losses, norms and factors; zeros where there was no gradient."""
    result = step(*batch(0))
    assert [t.shape for t in (result.losses, result.norms, result.clip_factors)] == [(0,)] * 3
    assert step.model.body.weight.grad.shape == (4, 5)
    assert not step.model.body.weight.grad.any()
    step(*batch())
    before = gradients(step)
    step(*batch(0))
    assert all(torch.equal(g, before[n]) for n, g in gradients(step).items() if g is not None)


def test_a_model_without_trainable_parameters(step):
    """Norms 0, nothing clipped, nothing written."""
    step.model.requires_grad_(False)
    result = step(*batch())
    assert not result.norms.any()
    assert result.clip_factors.eq(1).all()
    assert all(g is None for g in gradients(step).values())
    assert step(*batch(0)).norms.shape == (0,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("call", ["step", "gradients"])
def test_examples_that_are_not_finite_raise(step, value, call):
    """They are named, and .grad is bit-equal to what it was."""
    step(*batch())
    before = gradients(step)
    x, target = batch()
    x[1, 2] = x[3, 0] = value
    with pytest.raises(FloatingPointError, match=r"2 of 4 examples .* not finite: 1, 3"):
        (step if call == "step" else step.gradients)(x, target)
    after = gradients(step)
    assert all(torch.equal(after[n], g) for n, g in before.items() if g is not None)
    assert after["frozen.weight"] is None


def test_a_gradient_that_is_not_finite_raises():
    """A finite loss whose gradient is not: √0."""
    step = cc.compile(nn.Linear(5, 1).double(), lambda o, t: torch.sqrt((o[:, 0] - t).abs()))
    with torch.no_grad():
        step.model.weight.zero_()
        step.model.bias.zero_()
    with pytest.raises(FloatingPointError, match=r"1 of 3 examples .* not finite: 1"):
        step(torch.randn(3, 5).double(), torch.tensor([-1.0, 0.0, -2.0]).double())
    assert step.model.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_have_the_dtype_of_their_parameters(dtype):
    """Norms in float32 or wider: a bound is not to be rounded away."""
    step = cc.compile(nn.Linear(5, 3).to(dtype), losses)
    result = step(*batch(dtype=dtype))
    assert step.model.weight.grad.dtype == dtype
    assert result.norms.dtype == torch.float32


def test_small_gradients_in_half_precision_are_not_lost():
    """‖g‖ = 3e-4·√(3·200): each g² is below the smallest float16, the sum is not."""
    step = cc.compile(nn.Linear(200, 3, bias=False).half(), lambda o, t: (o * t[:, None]).sum(1), max_grad_norm=1e-3)
    x, target = torch.full((2, 200), 0.015, dtype=torch.float16), torch.full((2,), 0.02, dtype=torch.float16)
    result, _ = step.gradients(x, target)
    truth = float(x[0, 0]) * float(target[0]) * 600**0.5
    torch.testing.assert_close(result.norms, torch.full((2,), truth), rtol=5e-3, atol=0)
