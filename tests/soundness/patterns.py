"""Small models made from one line, and the check that their clipped gradients are exact."""

import torch
from comparison import assert_exact, compiled
from torch import nn

__all__ = ["SIZES", "Pattern", "batch_of", "check", "losses", "parameter"]

#: The batch sizes that one compilation is tried at.
SIZES = (1, 2, 7)


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
    """One compilation, exact at every size, half of the examples clipped."""
    step = compiled(model.double(), loss_fn, batch_of(7, shape))
    for size in SIZES:
        assert_exact(step, batch_of(size, shape))
    assert step.compilations == 1
    return step
