"""The mixing patterns that take more than one line."""

import torch
from torch.nn import functional as F

__all__ = ["assigned", "hard_negatives", "info_nce", "keep", "remember", "scattered", "statistics", "token_mean"]


def scattered(h):
    """Rows written to the places that their values name."""
    return torch.zeros_like(h).scatter(0, (h > 0).long(), h)


def statistics(m, x):
    """A running mean that is subtracted."""
    m.seen.mul_(0.9).add_(0.1 * x.mean(0))
    return m.f(x - m.seen)


def remember(m, x):
    """A running mean that nothing reads."""
    m.seen.mul_(0.9).add_(0.1 * x.mean(0))
    return m.f(x)


def assigned(m, x):
    """A running mean that nothing reads, put in the place of the buffer."""
    m.seen = 0.9 * m.seen + 0.1 * x.mean(0)
    return m.f(x)


def keep(m, x):
    """A row of a weight, kept for the next step."""
    m.kept.copy_(m.f.weight[0])
    return m.f(x)


def info_nce(o, t):
    """Every other example is a negative."""
    return F.cross_entropy(o @ t.T, torch.arange(o.shape[0]), reduction="none")


def hard_negatives(o, t):
    """The nearest other example is the negative."""
    distance = torch.cdist(o, t) + 1e9 * torch.eye(o.shape[0]).to(o)
    return F.relu((o - t).norm(dim=1) - distance.amin(1) + 0.2)


def token_mean(o, t):
    """One mean over the valid tokens of all sequences."""
    losses, mask = F.cross_entropy(o.mT, (t > 0).long(), reduction="none"), (t > -1).to(o)
    return (losses * mask).sum() / mask.sum()
