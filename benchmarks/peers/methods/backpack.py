"""BackPACK: the squared norms of every layer in a first backward pass, a second one of the weighted losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.peers.methods.method import LossFunction, Method, NotOffered, clip_factors

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """``BatchL2Grad``; the clipped sum is left to the user."""
    import backpack
    from backpack.extensions import BatchL2Grad

    made = backpack.extend(model)
    named = {name: p for name, p in made.named_parameters() if p.requires_grad}

    def step() -> Tensor:
        losses = loss_fn(made(x), y)
        with backpack.backpack(BatchL2Grad()):
            losses.sum().backward(retain_graph=True)
        left_out = [name for name, p in named.items() if not hasattr(p, "batch_l2")]
        if left_out:
            raise NotOffered(f"no norms of {left_out[0]} ({len(left_out)} of {len(named)} parameters)")
        norms = torch.stack([p.batch_l2 for p in named.values()]).sum(0).sqrt()
        for p in named.values():
            p.grad = None
            del p.batch_l2
        (clip_factors(norms, max_grad_norm) * losses).sum().backward()
        return norms

    return Method(step, made)
