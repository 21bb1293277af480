"""Opacus with ghost clipping: norms in a first backward pass, the clipped sum in a second one."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from benchmarks.peers.methods.method import LossFunction, Method
from benchmarks.peers.methods.opacus_model import fixed

__all__ = ["prepare"]


def prepare(model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float) -> Method:
    """``GradSampleModuleFastGradientClipping``: what its wrapped loss does in ``backward()``."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    plain, note = fixed(model)
    made = copy.deepcopy(plain)
    wrapped = GradSampleModuleFastGradientClipping(made, max_grad_norm=max_grad_norm, loss_reduction="sum")

    def step() -> Tensor:
        losses = loss_fn(wrapped(x), y)
        losses.sum().backward(retain_graph=True)
        for p in made.parameters():
            p.grad = None
        factors = wrapped.get_clipping_coef()
        wrapped.disable_hooks()
        (factors * losses).sum().backward()
        wrapped.enable_hooks()
        norms: Tensor = wrapped.per_sample_gradient_norms
        return norms

    return Method(step, made, plain, note)
