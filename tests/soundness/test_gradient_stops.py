"""What changes a gradient without being an op of the forward: kept exactly, or refused."""

import pytest
import torch
from patterns import Pattern, check, losses, parameter
from torch import nn
from torch.distributions import Categorical, Dirichlet
from torch.utils.checkpoint import checkpoint

import clipcompiler as cc

BATCH = (torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64))


def layers():
    """f: [5] → [3], g: [3] → [2]."""
    return {"f": nn.Linear(5, 3), "g": nn.Linear(3, 2)}


def without_grad(model, x):
    """A frozen backbone, as people write it."""
    with torch.no_grad():
        h = model.f(x)
    return model.g(h)


def partly_without_grad(model, x):
    """A gate that is not trained through."""
    h = model.f(x)
    with torch.no_grad():
        gate = torch.sigmoid(model.f(x))
    return model.g(h * gate)


def scale_without_grad(model, x):
    """A weight divided by its own norm, the norm taken as a number."""
    with torch.no_grad():
        norm = model.f.weight.norm()
    return model.g(nn.functional.linear(x, model.f.weight / norm, model.f.bias))


@torch.no_grad()
def size_of(h):
    """A statistic of one example."""
    return h.abs().mean(1, keepdim=True)


def without_grad_or_autocast(model, x):
    """A gate that is not trained through, where what rounds is turned off."""
    h = model.f(x)
    with torch.autocast("cpu", enabled=False):
        h = torch.tanh(h)
        with torch.no_grad():
            gate = torch.sigmoid(model.f(x))
        return model.g(h * gate)


STOPPED = {
    "no_grad": without_grad,
    "no_grad of a part": partly_without_grad,
    "no_grad of a parameter": scale_without_grad,
    "no_grad without autocast": without_grad_or_autocast,
    "a function under no_grad": lambda m, x: m.g(m.f(x) / size_of(m.f(x))),
    "detach": lambda m, x: m.g(m.f(x).detach() * m.f(x)),
    "detach of everything": lambda m, x: m.g(m.f(x).detach()),
    "detach of a parameter": lambda m, x: m.g(nn.functional.linear(x, m.f.weight.detach()) + m.f.bias),
    "rounding, straight through": lambda m, x: m.g(m.f(x) + (m.f(x).round() - m.f(x)).detach()),
    "an integer beside a value": lambda m, x: m.g(torch.broadcast_tensors(x[:, :1].long(), m.f(x))[1]),
    "the chosen class": lambda m, x: Categorical(logits=m.f(x), validate_args=False).log_prob(x.argmax(1) % 3)[:, None],
    "a largest and its place": lambda m, x: m.g(m.f(x).topk(3)[0] * m.f(x).max(1, keepdim=True)[1]),
    "enable_grad": lambda m, x: m.g(torch.enable_grad()(m.f)(x)),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_gradient_that_is_stopped_stays_stopped(name):
    """What autograd keeps out of the gradient is kept out of norms and sums."""
    check(Pattern(STOPPED[name], **layers()), (5,))


class Rounded(torch.autograd.Function):
    """round, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


def hooked(model, x):
    """A gradient halved on its way."""
    h = model.f(x)
    h.register_hook(lambda g: g / 2)
    return model.g(h)


def inferred(model, x):
    """A value without a gradient, by inference mode."""
    with torch.inference_mode():
        h = model.f(x)
    return model.g(h.clone())


REFUSED = {
    "autograd.Function": (lambda m, x: m.g(Rounded.apply(m.f(x))), "Rounded is an autograd.Function"),
    "a Function of torch": (
        lambda m, x: m.g(m.f(x) * Dirichlet(m.f.bias.exp(), validate_args=False).rsample()), "autograd.Function"),
    "a hook on a tensor": (hooked, "registers a hook on a tensor"),
    "inference mode": (inferred, "inference_mode"),
    "a re-entrant checkpoint": (lambda m, x: m.g(checkpoint(m.f, x, use_reentrant=True)), "use_reentrant=False"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_backward_that_no_op_shows_is_refused(name):
    """With the user's line and a remedy."""
    forward, says = REFUSED[name]
    with pytest.raises(cc.UntraceableModel, match=says) as caught:
        cc.compile(Pattern(forward, **layers()).double(), losses).gradients(*BATCH)
    assert f"{__file__}:{caught.value.origin.line}: " in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_backward_hook_of_a_module_is_refused(register):
    """The path of the module."""
    model = Pattern(lambda m, x: m.g(m.f(x)), **layers()).double()
    getattr(model.g, register)(lambda module, *gradients: None)
    with pytest.raises(cc.UntraceableModel, match="the module g has a backward hook"):
        cc.compile(model, losses).gradients(*BATCH)


def test_a_gradient_hook_of_a_parameter_is_refused():
    """It would not be called."""
    model = Pattern(lambda m, x: m.g(m.f(x)), **layers()).double()
    model.f.bias.register_hook(lambda g: g / 2)
    with pytest.raises(cc.UntraceableModel, match=r"the parameter f.bias has a gradient hook"):
        cc.compile(model, losses).gradients(*BATCH)


def test_forward_hooks_are_part_of_the_model():
    """They change the values, and the graph shows it."""
    model = Pattern(lambda m, x: m.g(m.f(x)), **layers())
    model.f.register_forward_hook(lambda module, args, output: 2 * output)
    model.g.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    check(model, (5,))


def outside(kind):
    """A model in which a parameter is reached past the module that owns it."""
    model = Pattern(lambda m, x: m.f(x), f=nn.Linear(5, 3)).double()
    weight = model.f.weight
    if kind == "a buffer computed from it":
        model.register_buffer("twice", weight[:, 0] * 2)
        model.function = lambda m, x: m.f(x) * m.twice
    elif kind == "a view kept":
        model.transposed = weight.t()
        model.function = lambda m, x: m.f(x) @ m.transposed.t()
    elif kind == "a list":
        model.kept = [weight]
        model.function = lambda m, x: m.f(x) @ m.kept[0]
    return model, (lambda o, t: losses(o @ weight, t)) if kind == "the loss" else losses


@pytest.mark.parametrize("kind", ["the loss", "a buffer computed from it", "a view kept", "a list"])
def test_a_parameter_that_is_reached_as_a_constant_is_refused(kind):
    """backward() would reach it there; a graph with a constant would not."""
    model, loss_fn = outside(kind)
    with pytest.raises(cc.CompileError, match=r"parameter|gradient") as caught:
        cc.compile(model, loss_fn).gradients(*BATCH)
    assert caught.value.remedy


def test_a_loss_reads_the_parameters_of_the_model_through_the_model():
    """A penalty of the weight on each example's output is part of the gradient."""
    model = nn.Linear(5, 3).double()
    step = cc.compile(model, lambda o, t: losses(o @ model.weight, t), max_grad_norm=1e9)
    _, sums = step.gradients(*BATCH)
    losses(model(BATCH[0]) @ model.weight, BATCH[1]).sum().backward()
    torch.testing.assert_close(sums["weight"], model.weight.grad, rtol=1e-12, atol=1e-12)


def test_draws_are_the_models_own():
    """Dropout, noise on a weight and noise on a value: exact for the numbers drawn."""
    model = Pattern(
        lambda m, x: x @ (m.w + torch.randn_like(m.w)) + m.g(m.d(m.f(x)) * torch.rand_like(x[:, :1])),
        d=nn.Dropout(0.5), w=parameter(5, 2), **layers(),
    ).double()  # fmt: skip
    step = cc.compile(model, losses)
    step.gradients(*BATCH)
    torch.manual_seed(3)
    result, _ = step.gradients(*BATCH)
    torch.manual_seed(3)
    for n, loss in enumerate(losses(model(BATCH[0]), BATCH[1])):
        found = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        norm = torch.stack([g.square().sum() for g in found]).sum().sqrt()
        torch.testing.assert_close(result.norms[n], norm, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True), (0.0, None)])
def test_the_op_of_dropout_draws_only_where_it_trains(rate, training):
    """Its third argument says so; without it, it trains."""

    def forward(m, x):
        return torch.ops.aten.native_dropout(x, rate, training)[0] @ m.w

    check(Pattern(forward, w=parameter(5, 2)), (5,))
