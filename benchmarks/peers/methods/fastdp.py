"""fastDP's book-keeping: norms and clipped sums in one backward pass, from activations and output gradients kept."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.methods.method import LossFunction, Method, NotOffered

__all__ = ["prepare"]


def prepare(
    model: nn.Module, loss_fn: LossFunction, x: Tensor, y: Tensor, max_grad_norm: float, *, path: Path
) -> Method:
    """``PrivacyEngine`` with flat clipping, the origin parameters that its README recommends, and no noise.

    Raises:
        NotOffered: where it has no layer for a parameter, and would leave it untrained.
    """
    sys.path.insert(0, str(path))
    from fastDP import PrivacyEngine

    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    engine = PrivacyEngine(
        model,
        batch_size=len(x),
        sample_size=1000 * len(x),
        epochs=1,
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        clipping_fn="Abadi",
        loss_reduction="sum",
        origin_params=origins(model),
    )
    covered = {id(p) for _, layer in engine.named_layers for p in layer.parameters(recurse=False)}
    left_out = [name for name, p in named.items() if id(p) not in covered]
    if left_out:
        raise NotOffered(f"no gradients of {left_out[0]} ({len(left_out)} of {len(named)} parameters)")

    def step() -> None:
        for p in named.values():
            p.private_grad = torch.zeros_like(p)  # it would begin with noise otherwise
        loss_fn(model(x), y).sum().backward()
        for p in named.values():
            p.grad = p.private_grad
            del p.private_grad

    return Method(step, model)


def origins(model: nn.Module) -> list[str]:
    """The parameters of the first trained layer and of every trained embedding: no gradient flows behind these."""
    layers = {name: [f"{name}.{own}" for own, p in m.named_parameters(recurse=False) if p.requires_grad]
              for name, m in model.named_modules()}  # fmt: skip
    firsts = [name for name, own in layers.items() if own][:1]
    firsts += [name for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    return [p for name in dict.fromkeys(firsts) for p in layers[name]]
