"""One call's arguments as a batch: its tensors, and the number of examples they agree on."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from clipcompiler.errors import InvalidBatch
from clipcompiler.origin import Origin
from clipcompiler.trace.recurrent import PADDED
from clipcompiler.trace.source import is_users

__all__ = ["Batch", "batch_of", "caller", "cast", "ids_of"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of one call.

    Attributes:
        tensors: the tensors, in the order of the generated program's inputs.
        leaves: every leaf of the arguments.
        structure: how the leaves nest.
        size: the number of examples.
    """

    tensors: tuple[Tensor, ...]
    leaves: tuple[Any, ...]
    structure: Any
    size: int

    def rows(self, index: Tensor) -> Batch:
        """Some of the examples, by their places."""
        tensors = tuple(t[index.to(t.device)] for t in self.tensors)
        found = iter(tensors)
        leaves = tuple(next(found) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves)
        return Batch(tensors, leaves, self.structure, len(index))


def batch_of(args: Sequence[Any], kwargs: dict[str, Any], examples_per_unit: int = 1) -> Batch:
    """Reads the batch off the arguments.

    Raises:
        InvalidBatch: where a tensor has no first dim, or the first dims differ, or are no multiple of
            ``examples_per_unit``, or there is no tensor; for packed sequences.
    """
    if (plain := plain_batch(args, kwargs, examples_per_unit)) is not None:
        return plain
    refuse_packed((args, kwargs))
    paths, structure = pytree.tree_flatten_with_path((tuple(args), kwargs))
    paths = [(path, leaf.clone() if is_inference(leaf) else leaf) for path, leaf in paths]
    tensors = [(path, leaf) for path, leaf in paths if isinstance(leaf, Tensor)]
    for path, leaf in paths:
        if type(leaf).__module__ == "numpy":
            raise InvalidBatch(
                f"{called(path, len(args))} is a numpy array",
                origin=caller(),
                remedy="give tensors: torch.as_tensor(…)",
            )
    if not tensors:
        raise InvalidBatch("the batch has no tensor", origin=caller(), remedy="call step(inputs, target)")
    sizes: dict[str, int] = {}
    for path, leaf in tensors:
        name = called(path, len(args))
        if leaf.dim() == 0:
            raise InvalidBatch(
                f"{name} has no batch dimension: its shape is []",
                origin=caller(),
                remedy="give every tensor the examples along its first dim; make anything else a buffer of the model",
            )
        sizes[name] = leaf.shape[0]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise InvalidBatch(
            f"the tensors of the batch have different numbers of examples: {listed}",
            origin=caller(),
            remedy="give every tensor the examples along its first dim; make anything else a buffer of the model",
        )
    size = next(iter(sizes.values()))
    if size % examples_per_unit:
        raise InvalidBatch(
            f"the batch has {size} examples, which are no whole number of units of {examples_per_unit}",
            origin=caller(),
            remedy=f"give whole units: examples_per_unit={examples_per_unit} consecutive examples each",
        )
    return Batch(tuple(t for _, t in tensors), tuple(v for _, v in paths), structure, size)


def plain_batch(args: Sequence[Any], kwargs: dict[str, Any], examples_per_unit: int) -> Batch | None:
    """The batch of a call with tensors of one size and nothing else, which needs no walk; ``None`` for any other."""
    if kwargs or not args or any(type(t) is not Tensor or t.dim() == 0 or t.is_inference() for t in args):
        return None
    size = args[0].shape[0]
    if size % examples_per_unit or any(t.shape[0] != size for t in args):
        return None
    tensors = tuple(args)
    return Batch(tensors, tensors, structure_of(len(tensors)), size)


@cache
def structure_of(count: int) -> Any:
    """How the leaves of a call with so many tensors nest."""
    return pytree.tree_structure((tuple(range(count)), {}))


def refuse_packed(arguments: Any) -> None:
    """Packed sequences have a first dim of steps, each step those examples that are still going on.

    Raises:
        InvalidBatch: for a ``PackedSequence``.
    """
    leaves = pytree.tree_leaves(arguments, is_leaf=lambda leaf: isinstance(leaf, PackedSequence))
    if any(isinstance(leaf, PackedSequence) for leaf in leaves):
        raise InvalidBatch("packed sequences do not lie one example after another", origin=caller(), remedy=PADDED)


def ids_of(unit_ids: Any, batch: Batch) -> Tensor:
    """The unit of every example.

    Raises:
        InvalidBatch: where they are no tensor of N integers.
    """
    whole = isinstance(unit_ids, Tensor) and not (unit_ids.is_floating_point() or unit_ids.is_complex())
    if not whole or tuple(unit_ids.shape) != (batch.size,):
        found = f"{unit_ids.dtype} {list(unit_ids.shape)}" if isinstance(unit_ids, Tensor) else type(unit_ids).__name__
        raise InvalidBatch(
            f"unit_ids is {found}, not integers [{batch.size}]",
            origin=caller(),
            remedy="give one integer for each example: torch.tensor([…])",
        )
    ids: Tensor = unit_ids.to(batch.tensors[0].device)
    return ids


def cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating-point tensors in ``dtype``, complex ones with parts of it; integers as they are."""
    if value.is_complex():
        return value.detach().to(dtype.to_complex())
    return value.detach().to(dtype) if value.is_floating_point() else value


def is_inference(leaf: Any) -> bool:
    """Whether a leaf is a tensor made in inference mode, which no graph may keep."""
    return isinstance(leaf, Tensor) and leaf.is_inference()


def called(path: Any, count: int) -> str:
    """An argument by its place: ``input 0``, ``the target``, ``keyword mask``."""
    group, key = path[0].idx, path[1]
    inner = pytree.keystr(path[2:])
    if group == 1:
        return f"keyword {key.key}{inner}"
    return f"the last argument (target){inner}" if key.idx == count - 1 and count > 1 else f"argument {key.idx}{inner}"


def caller() -> Origin | None:
    """The user's line that called the step."""
    frames = [f for f in traceback.extract_stack() if is_users(f.filename)]
    if not frames:
        return None
    last = frames[-1]
    return Origin("call of the compiled step", "", last.filename, last.lineno or 0, last.line or "")
