"""clipcompiler: the program that it generates for the model."""

from __future__ import annotations

from torch import Tensor, nn

import clipcompiler as cc
from benchmarks.peers.methods.method import LossFunction, Method

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """Compiled at once, so that no timed step compiles."""
    step = cc.compile(model, loss_fn, max_grad_norm=max_grad_norm, example_inputs=(x, y))
    return Method(lambda: step(x, y).norms, model)
