"""What a program was compiled for: all of a model and a batch that could make another program right."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clipcompiler.errors import UntraceableModel

__all__ = ["fingerprint_of_batch", "fingerprint_of_modules"]


def fingerprint_of_modules(roots: Iterable[nn.Module]) -> Hashable:
    """Mode of every module; identity, dtype, device, shape and ``requires_grad`` of every parameter; buffers' kind.

    It holds identities, so whoever keeps it keeps the parameters alive.

    Raises:
        UntraceableModel: for lazy modules that have not run yet.
    """
    state: list[Any] = []
    pending = list(roots)
    while pending:
        module = pending.pop()
        state.append(module.training)
        for p in module._parameters.values():
            if p is not None and is_lazy(p):
                raise UntraceableModel(
                    "the model has lazy modules, whose parameters have no shape yet",
                    remedy="call the model once on a batch before the step",
                )
            if p is not None:
                state.append((id(p), p.requires_grad, p.dtype, p.device, p.shape))
        for name, b in module._buffers.items():
            if b is not None:
                state.append((name, b.dtype, b.device, b.shape))
        for child in module._modules.values():
            if child is not None:
                pending.append(child)
                state.append(id(child))
    return tuple(state)


def fingerprint_of_batch(leaves: Iterable[Any], structure: Any) -> Hashable:
    """Rank, extents but the first, dtype and device of every tensor; everything else as it is."""
    kinds: list[Any] = [str(structure)]
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            kinds.append((leaf.dtype, leaf.device, leaf.shape[1:], leaf.dim()))
        else:
            kinds.append((type(leaf), leaf if isinstance(leaf, Hashable) else repr(leaf)))
    return tuple(kinds)
