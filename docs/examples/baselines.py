"""The two steps to measure a clipped step against: without clipping, and with it done the obvious way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LossFunction = Callable[[Tensor, Tensor], Tensor]


def ordinary(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor) -> None:
    """p.grad += ∇ mean_n ℓ_n: one forward and one backward pass, nothing clipped."""
    loss_fn(model(x), y).mean().backward()


def one_pass_an_example(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, *, max_grad_norm: float) -> None:
    """p.grad += Σ_n min(1, C / ‖∇ℓ_n‖) ∇ℓ_n by N forward and backward passes: "nxBP" in the paper."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    for example in range(len(x)):
        one = slice(example, example + 1)
        gradients = torch.autograd.grad(loss_fn(model(x[one]), y[one]).sum(), parameters)
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        factor = (max_grad_norm / norm).clamp(max=1.0)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad.addcmul_(g, factor)
