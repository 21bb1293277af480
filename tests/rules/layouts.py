"""The same values, laid out in memory in other ways."""

from __future__ import annotations

import torch
from sampling import Size, Spec
from torch import Tensor

__all__ = ["layouts_of", "relaid", "strided"]

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def strided(x: Tensor) -> Tensor:
    """The same values with the strides in the opposite order, and gaps between the elements."""
    order = list(reversed(range(x.dim())))
    wide = torch.stack([x.permute(order)] * 2, -1).contiguous()
    return wide[..., 0].permute(order)


def layouts_of(spec: Spec) -> list[str]:
    """The layouts that a tensor of this shape can take beside its own."""
    found = ["reversed"] * (len(spec.shape) > 1) + ["channels last"] * (len(spec.shape) in CHANNELS_LAST)
    return found + ["expanded"] * (repeated_dim(spec) is not None)


def relaid(x: Tensor, spec: Spec, layout: str) -> Tensor:
    """An operand of ``spec`` in a layout; expanded, its values are the first along one dim."""
    if layout not in layouts_of(spec):
        return x
    if layout == "reversed":
        order = list(reversed(range(x.dim())))
        return x.permute(order).contiguous().permute(order)
    if layout == "channels last":
        return x.contiguous(memory_format=CHANNELS_LAST[x.dim()])
    dim = repeated_dim(spec)
    return x.narrow(dim, 0, 1).expand([-1] * dim + [x.shape[dim]] + [-1] * (x.dim() - dim - 1))


def repeated_dim(spec: Spec) -> int | None:
    """The last dim without examples, of an extent above 1."""
    dims = [d for d, size in enumerate(spec.shape) if not isinstance(size, Size) and size > 1]
    return dims[-1] if dims else None
