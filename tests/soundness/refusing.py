"""A mixing pattern by its name → its code and its refusal."""

from functools import cache

import torch
from mixing import OF_LOSSES, OF_MODELS, OF_VALUES
from patterns import Pattern, losses
from torch import nn

import clipcompiler as cc

__all__ = ["MIXING", "code_of_mixing", "refusal", "refused", "says"]

#: Every name, in the order of the table.
MIXING = [*OF_VALUES, *OF_MODELS, *OF_LOSSES]
EXAMPLES = 4


def entry(name):
    """What the registry holds of a pattern."""
    return {**OF_VALUES, **OF_MODELS, **OF_LOSSES}[name]


def code_of_mixing(name):
    """The function that mixes."""
    return entry(name)[0]


def says(name):
    """What the message must say."""
    return entry(name)[-1]


def refused(model, loss_fn, batch):
    """The refusal of a model; an ``AssertionError`` where it compiles."""
    try:
        cc.compile(model, loss_fn).gradients(*batch)
    except cc.CompileError as error:
        return error
    raise AssertionError("the model was compiled")


@cache
def refusal(name):
    """The refusal of a pattern of the registry."""
    if name in OF_LOSSES:
        loss_fn, output, target, _ = OF_LOSSES[name]
        batch = numbers(*output[:-1], 5), numbers(*target)
        return refused(nn.Linear(5, output[-1]).double(), loss_fn, batch)
    if name in OF_MODELS:
        forward, parts, shape, _ = OF_MODELS[name]
        return refused(Pattern(forward, **parts).double(), losses, (numbers(*shape), numbers()))
    function, _ = OF_VALUES[name]
    model = Pattern(lambda m, x: function(m.f(x)), f=nn.Linear(5, 3)).double()
    return refused(model, losses, (numbers(5), numbers()))


def numbers(*shape):
    """A tensor of the batch."""
    return torch.randn(EXAMPLES, *shape, dtype=torch.float64)
