"""∇ mean_n ℓ_n, nothing clipped: what the others are measured against."""

from __future__ import annotations

from torch import Tensor, nn

import baselines
from benchmarks.peers.methods.method import LossFunction, Method

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """One forward and one backward pass."""
    return Method(lambda: baselines.ordinary(model, loss_fn, x, y), model)
