"""Opacus with hooks: per-example gradients of every layer, clipped and summed by its optimizer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.peers.methods.method import LossFunction, Method, trained
from benchmarks.peers.methods.opacus_model import fixed

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """``GradSampleModule`` and ``DPOptimizer``, without noise."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    plain, note = fixed(model)
    made = copy.deepcopy(plain)
    wrapped = GradSampleModule(made, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(trained(made), lr=0.0),
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn(wrapped(x), y).sum().backward()
        optimizer.clip_and_accumulate()
        for p in optimizer.params:
            p.grad, p.summed_grad, p.grad_sample = p.summed_grad, None, None

    return Method(step, made, plain, note)
