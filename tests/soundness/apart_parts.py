"""The exact patterns that take more than one line."""

import torch
from torch.nn import functional as F

__all__ = [
    "continuous_positions",
    "count",
    "frames",
    "in_blocks",
    "loss_of_losses",
    "one_hot",
    "recurrent",
    "running",
    "scaled_by_hand",
    "shifted",
    "silenced",
    "windows",
    "written",
]


def count(m, x):
    """A number of steps."""
    m.steps.add_(1)
    return m.f(x) / m.steps


def frames(layer, x):
    """[N, T, …] → time first, time and examples one dim → the layer → back."""
    y = layer(x.transpose(0, 1).reshape(-1, *x.shape[2:]))
    return y.unflatten(0, (x.shape[1], x.shape[0])).transpose(0, 1)


def windows(m, x):
    """[N, 4, 4, D] → four windows an image, attention within each → back."""
    w = x.view(-1, 2, 2, 2, 2, x.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, x.shape[-1])
    y = torch.softmax(m.f(w) @ m.f(w).mT, -1) @ m.f(w)
    return y.view(-1, 2, 2, 2, 2, y.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(x.shape[0], 4, 4, -1)


def in_blocks(m, x):
    """[N, C, 4, 4] → the 2 × 2 blocks of an image as features."""
    return m.f(F.pixel_unshuffle(x, 2).flatten(2).mT)


def one_hot(m, x):
    """The token at an index, by a product."""
    at = F.one_hot((x[..., 0] > 0).sum(1) % 4, 4).to(x)
    return (at[:, None] @ m.f(x))[:, 0]


def continuous_positions(m, x):
    """A bias of each pair of places, by a network of their distance."""
    places = torch.arange(x.shape[1]).to(x)
    bias = m.g((places[:, None] - places)[..., None])[..., 0]
    return torch.softmax(m.f(x) @ m.f(x).mT + bias, -1) @ x


def written(m, x):
    """Features written in place, as an output is assembled."""
    out = torch.zeros(x.shape[0], 4, dtype=x.dtype)
    out[:, :3] = m.f(x)
    out[:, 3] = x[:, 0]
    return out


def shifted(m, x):
    """Features added to their neighbours in place."""
    h = m.f(x).clone()
    h[:, 1:] += 2 * h[:, :-1]
    h[:, 0] = 0
    return h.add_(1).relu_()


def scaled_by_hand(m, x):
    """Each row times the norm of its input."""
    h = m.f(x)
    h *= 1 + x.norm(dim=1, keepdim=True)
    return h


def recurrent(m, x):
    """A loop over positions."""
    h = m.h.expand(x.shape[0], 3)
    for step in x.unbind(1):
        h = torch.tanh(m.f(step) + m.g(h))
    return h


def loss_of_losses(m, x):
    """A fit, a penalty and an entropy."""
    p = torch.softmax(m.f(x), 1)
    return torch.stack([m.f(x).square().mean(1), p.amax(1), -(p * p.log()).sum(1)], 1)


def running(norm):
    """A norm in eval mode with statistics of its own."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm.eval()


def silenced(m, x):
    """Negative features are set to 0, tokens that begin with one to a trained vector."""
    h = 2 * m.f(x)
    h[h < 0] = 0
    h[h[..., 0] > 0.3] = m.token
    return h
