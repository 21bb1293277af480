"""Examples of very different sizes, and a model of two named layers."""

import torch
from torch import nn
from torch.nn import functional as F

C = 0.3


def batch_of(size, dtype=torch.float64):
    """Inputs of very different sizes, and classes."""
    scale = torch.logspace(-3, 2, size).to(dtype)
    return scale[:, None] * torch.randn(size, 6, dtype=dtype), torch.randint(0, 3, (size,))


def model_of(inputs=6, width=5):
    """Two layers, each under a name."""
    model = nn.Sequential()
    model.add_module("body", nn.Linear(inputs, width))
    model.add_module("act", nn.Tanh())
    model.add_module("head", nn.Linear(width, width))
    return model.double()


def losses(output, target):
    """Cross-entropy of each example."""
    return F.cross_entropy(output, target, reduction="none")
