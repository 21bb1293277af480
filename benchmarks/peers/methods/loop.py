"""One forward and one backward pass an example: "nxBP" in the paper."""

from __future__ import annotations

from torch import Tensor, nn

from baselines import one_pass_an_example
from benchmarks.peers.methods.method import LossFunction, Method

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """N forward and backward passes."""
    return Method(lambda: one_pass_an_example(model, loss_fn, x, y, max_grad_norm=max_grad_norm), model)
