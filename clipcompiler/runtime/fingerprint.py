"""What a program was compiled for: all of a model and a batch that could make another program right."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clipcompiler.errors import UntraceableModel

__all__ = ["closed_over", "fingerprint_of_batch", "fingerprint_of_function", "fingerprint_of_modules", "identified"]


def fingerprint_of_modules(roots: Iterable[nn.Module]) -> Hashable:
    """The state of every module that decides what it computes and what is trained.

    Class, mode, hooks and a patched ``forward``; name, identity, dtype, device, shape and ``requires_grad`` of
    every parameter; the kind of every buffer; identity and version of tensors that are neither. It holds
    identities, so whoever keeps it keeps alive what ``identified`` gives.

    Raises:
        UntraceableModel: for lazy modules that have not run yet.
    """
    state: list[Any] = []
    for module in every(roots):
        state += [type(module), module.training, *map(id, hooks_of(module))]
        for name, p in module._parameters.items():
            if p is not None and is_lazy(p):
                raise UntraceableModel(
                    "the model has lazy modules, whose parameters have no shape yet",
                    remedy="call the model once on a batch before the step",
                )
            if p is not None:
                state.append((name, id(p), p.requires_grad, p.dtype, p.device, p.shape))
        for name, b in module._buffers.items():
            if b is not None:
                state.append((name, b.dtype, b.device, b.shape))
        state += [(name, id(t), t._version) for name, t in loose_tensors(module)]
        state += [(name, id(child)) for name, child in module._modules.items()]
    return tuple(state)


def identified(roots: Iterable[nn.Module]) -> Iterator[object]:
    """Every object that the fingerprint knows by its identity."""
    for module in every(roots):
        yield module
        yield from hooks_of(module)
        yield from module._parameters.values()
        yield from (t for _, t in loose_tensors(module))


def every(roots: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Each module once, in a fixed order."""
    pending, seen = list(roots), set[int]()
    while pending:
        module = pending.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            pending += [child for child in module._modules.values() if child is not None]


def hooks_of(module: nn.Module) -> list[Any]:
    """What runs around or instead of the forward of the module's class."""
    patched = module.__dict__.get("forward")
    tables = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    hooks = [hook for table in tables for hook in table.values()]
    hooks += [h for p in module._parameters.values() if p is not None for h in (p._backward_hooks or {}).values()]
    return hooks if patched is None else [*hooks, patched]


def loose_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Tensors kept on a module as plain attributes."""
    return [(name, value) for name, value in module.__dict__.items() if isinstance(value, Tensor)]


def closed_over(function: object) -> list[tuple[int, Tensor]]:
    """The tensors that a loss function has captured from around it, by the number of the cell."""
    cells = enumerate(getattr(function, "__closure__", None) or ())
    return [(k, cell.cell_contents) for k, cell in cells if isinstance(cell.cell_contents, Tensor)]


def fingerprint_of_function(function: object) -> Hashable:
    """Identity of a loss function, identity and version of the tensors it has captured."""
    return (id(function), *((k, id(t), t._version) for k, t in closed_over(function)))


@lru_cache(256)
def text_of(structure: Any) -> str:
    """How the leaves of a call nest, as text."""
    return str(structure)


def fingerprint_of_batch(leaves: Iterable[Any], structure: Any, lengths: Iterable[Mapping[int, str]] = ()) -> Hashable:
    """Rank, extents but the first, dtype and device of every tensor; everything else with its type.

    ``lengths`` gives letters in place of some extents, for each tensor by dim.
    """
    kinds: list[Any] = [text_of(structure)]
    letters = iter(lengths)
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            own = next(letters, {})
            shape = leaf.shape[1:] if not own else tuple(own.get(d, k) for d, k in enumerate(leaf.shape[1:], 1))
            kinds.append((leaf.dtype, leaf.device, shape, leaf.dim()))
        else:
            kinds.append((type(leaf), leaf if isinstance(leaf, Hashable) else repr(leaf)))
    return tuple(kinds)
