"""dynamic={"tokens": {1: "T"}} → lengths of the batch that are letters in the graph, as N is.

A program for a length T serves every T: its sizes are written with the letter, and what is cheaper for short batches
than for long ones is chosen within it, by a condition on T.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.export import Dim
from torch.utils import _pytree as pytree

__all__ = ["Declared", "Length", "declared", "dims_of", "lengths_of", "of_lengths", "places_of", "prime_beside"]

#: What ``compile`` is given: for each input by name the dims whose size is a length, and the letters of these.
Declared = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class Length:
    """A size of the batch that is no number.

    Attributes:
        letter: T, as it stands in extents, costs and the program.
        places: the tensors of the batch that have it, by their number, and the dims there.
        usual: its size in the first batch, at which costs are compared.
        exported: the symbol that ``torch.export`` gave to it.
    """

    letter: sympy.Symbol
    places: tuple[tuple[int, int], ...]
    usual: int
    exported: sympy.Symbol


def declared(given: Any) -> dict[str, dict[int, str]]:
    """What ``compile`` is given, checked.

    Raises:
        ValueError: where it is no mapping from names to mappings from dims to letters, or names the first dim.
    """
    found: dict[str, dict[int, str]] = {}
    for name, dims in (given or {}).items():
        for dim, letter in dims.items():
            if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
                raise ValueError(f"dynamic names dim {dim!r} of {name}: give 1 or more; the first are the examples")
            if not isinstance(letter, str) or not letter.isidentifier() or letter == "N":
                raise ValueError(f"dynamic calls a length of {name} {letter!r}: give a letter such as 'T', not 'N'")
            found.setdefault(name, {})[dim] = letter
    return found


def dims_of(names: Sequence[str], given: Declared, examples: Any) -> list[dict[int, Any] | None]:
    """The ``dynamic_shapes`` of every tensor of the batch, in order.

    Raises:
        ValueError: where an input is named that the batch does not have.
    """
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"dynamic names {unknown[0]!r}; the batch has {', '.join(names)}")
    letters = {letter: Dim(letter, min=2) for dims in given.values() for letter in dims.values()}
    found: list[dict[int, Any] | None] = []
    for name in names:
        dims = {dim: letters[letter] for dim, letter in given.get(name, {}).items()}
        found.append({**({0: examples} if examples else {}), **dims} or None)
    return found


def lengths_of(
    names: Sequence[str], given: Declared, batch: Sequence[Tensor], traced: Sequence[Tensor]
) -> list[Length]:
    """The lengths of a batch; ``traced`` are the same tensors with symbols for sizes."""
    found: list[Length] = []
    for letter, places in places_of(names, given).items():
        place, dim = places[0]
        size = traced[place].shape[dim]
        if isinstance(size, torch.SymInt):
            symbol = sympy.Symbol(letter, integer=True, positive=True)
            found.append(Length(symbol, places, batch[place].shape[dim], size.node.expr))
    return found


def places_of(names: Sequence[str], given: Declared) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each letter the tensors of the batch that have that length, by their number, and the dims there."""
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for place, name in enumerate(names):
        for dim, letter in given.get(name, {}).items():
            found[letter] = (*found.get(letter, ()), (place, dim))
    return found


def of_lengths(batch: Any, lengths: Mapping[Length, int]) -> Any:
    """A batch of the same kind with other lengths, its values of no meaning."""
    leaves, structure = pytree.tree_flatten(batch)
    tensors = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    for length, size in lengths.items():
        for place, dim in length.places:
            tensor = leaves[tensors[place]]
            leaves[tensors[place]] = tensor.new_empty((*tensor.shape[:dim], size, *tensor.shape[dim + 1 :]))
    return pytree.tree_unflatten(leaves, structure)


def prime_beside(sizes: Iterable[int]) -> int:
    """A prime of at least 5 that none of some sizes is, so that no dim is taken for another."""
    taken = set(sizes)
    return next(p for p in count(5) if p not in taken and all(p % k for k in range(2, p)))
