"""Per-example gradients by ``torch.func``: vmap over the gradient of one example's loss, then clipped and summed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.peers.methods.method import LossFunction, Method, clip_factors

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """N gradients at once, all of them kept."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    fixed |= dict(model.named_buffers())

    def loss_of_one(parameters: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        output = functional_call(model, (parameters, fixed), (example.unsqueeze(0),))
        return loss_fn(output, target.unsqueeze(0)).sum()

    each = vmap(grad(loss_of_one), in_dims=(None, 0, 0), randomness="different")

    def step() -> Tensor:
        gradients = each({name: p.detach() for name, p in named.items()}, x, y)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = clip_factors(norms, max_grad_norm)
        for name, p in named.items():
            total = torch.einsum("n,n...->...", factors, gradients[name])
            p.grad = total if p.grad is None else p.grad + total
        return norms

    return Method(step, model)
