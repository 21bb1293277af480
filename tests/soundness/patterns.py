"""Small models made from one line, and the check that their clipped gradients are exact."""

import torch
from comparison import assert_exact, median_norm
from torch import nn

import clipcompiler as cc

__all__ = ["SIZES", "Pattern", "batch_of", "check", "losses", "parameter"]

#: The batch sizes that one compilation is tried at.
SIZES = (1, 2, 5)


class Pattern(nn.Module):
    """A function of (model, x), with the parameters, buffers and modules it uses as attributes of the model."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def parameter(*shape, positive=False):
    """A trainable tensor."""
    value = torch.randn(shape, dtype=torch.float64)
    return nn.Parameter(value.abs() + 0.5 if positive else value)


def losses(output, target):
    """Σ_s (y[n,s] − t[n])² / S: one loss an example, whatever the shape of its output."""
    return (output.flatten(1) - target[:, None]).square().mean(1) if output.dim() > 1 else (output - target).square()


def batch_of(size, shape):
    """Inputs and targets."""
    return torch.randn(size, *shape, dtype=torch.float64), torch.randn(size, dtype=torch.float64)


def check(model, shape, loss_fn=losses):
    """One compilation, exact at every size; half of the examples clipped, the only one where there is one."""
    step = cc.compile(model.double(), loss_fn)
    for size in SIZES:
        batch = batch_of(size, shape)
        median = median_norm(model, loss_fn, batch)
        step.max_grad_norm = median if size > 1 else median / 2
        assert_exact(step, batch)
    assert step.compilations == 1
    return step
