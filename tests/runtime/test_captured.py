"""What a step reads besides the model's own parameters and buffers: tensors held elsewhere, and hooks."""

from functools import partial

import pytest
import torch
from comparison import assert_exact
from torch import nn

import clipcompiler as cc


def losses(output, target):
    """One loss an example."""
    return (output - target[:, None]).square().mean(1)


def model():
    """One layer."""
    return nn.Sequential(nn.Linear(5, 3)).double()


def batch(size=3):
    """Inputs and targets."""
    return torch.randn(size, 5, dtype=torch.float64), torch.randn(size, dtype=torch.float64)


CAPTURED = {
    "closed over": lambda weight: lambda o, t: losses(o * weight, t),
    "in a list": lambda weight: (lambda kept: lambda o, t: losses(o * kept[0], t))([weight]),
    "in a partial": lambda weight: partial(lambda w, o, t: losses(o * w, t), weight),
    "in a module closed over": lambda weight: (
        lambda bce: lambda o, t: bce(o, (t > 0).to(o)[:, None].expand_as(o)).mean(1)
    )(nn.BCEWithLogitsLoss(weight, reduction="none")),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_tensor_that_the_loss_holds_is_read_or_noticed(name):
    """Changed in place between two calls."""
    weight = torch.ones(3, dtype=torch.float64)
    step = cc.compile(model(), CAPTURED[name](weight))
    assert_exact(step, batch())
    weight.fill_(4)
    assert_exact(step, batch())


def test_an_unregistered_layer_is_read_or_noticed():
    """Its weight is no parameter of the model, and changes with an optimizer of its own."""
    hidden = [nn.Linear(3, 3).double()]
    step = cc.compile(model(), losses)
    step.model.register_forward_hook(lambda module, args, output: hidden[0](output))
    assert_exact(step, batch())
    with torch.no_grad():
        hidden[0].weight.mul_(3)
    assert_exact(step, batch())


@pytest.mark.parametrize("hooked", ["a module", "a parameter", "every module"])
def test_a_backward_hook_added_later_is_refused(hooked):
    """It would change a gradient, and the program would not."""
    step = cc.compile(model(), losses)
    step(*batch())
    if hooked == "a module":
        handle = step.model[0].register_full_backward_hook(lambda *call: None)
    elif hooked == "a parameter":
        handle = step.model[0].weight.register_hook(lambda g: g / 2)
    else:
        handle = nn.modules.module.register_module_full_backward_hook(lambda *call: None)
    with pytest.raises(cc.UntraceableModel, match="hook"):
        step.gradients(*batch())
    handle.remove()
    assert_exact(step, batch())
