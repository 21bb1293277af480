"""dynamic={"tokens": {1: "T"}} → lengths of the batch that are letters in the graph, as N is.

A program for a length T serves every T: its sizes are written with the letter, and what is cheaper for short batches
than for long ones is chosen within it, by a condition on T.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.export import Dim
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.assumptions import differs

__all__ = [
    "Declared",
    "Length",
    "bounded",
    "cut_to",
    "declared",
    "dims_of",
    "lengths_of",
    "of_lengths",
    "places_of",
    "shaped",
    "written_with_letters",
]

#: What sympy says where it is asked for the number of a letter.
WITHOUT_NUMBER = re.compile(r"Cannot convert (expression|symbols) to|truth value of Relational")
#: The shortest lengths tried: of two positions a stride may leave one.
SHORTEST = (2, 3, 4, 6, 8, 12, 16, 24, 32)
#: What ``compile`` is given: for each input by name the dims whose size is a length, and the letters of these.
Declared = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class Length:
    """A size of the batch that is no number.

    Attributes:
        letter: T, as it stands in extents, costs and the program.
        places: the tensors of the batch that have it, by their number, and the dims there.
        usual: its size in the first batch, at which costs are compared.
        exported: the symbols that ``torch.export`` gave to it, one for each tensor unless the model needs them equal.
        least: the shortest that the graph holds for.
        most: the longest that the model takes, such as the rows of a table of positions; ``None`` for any.
    """

    letter: sympy.Symbol
    places: tuple[tuple[int, int], ...]
    usual: int
    exported: tuple[sympy.Symbol, ...]
    least: int = 2
    most: int | None = None

    def of(self, batch: Sequence[Tensor]) -> int:
        """The size that it has in a batch."""
        place, dim = self.places[0]
        return batch[place].shape[dim]

    def takes(self, batch: Sequence[Tensor]) -> bool:
        """Whether the program holds for the size that it has in a batch."""
        return self.least <= self.of(batch) <= (self.most or self.of(batch))


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
    found: list[dict[int, Any] | None] = []
    for name in names:
        dims = dict.fromkeys(given.get(name, {}), Dim.AUTO)
        found.append({**({0: examples} if examples else {}), **dims} or None)
    return found


def shaped(
    batch: Any, names: list[str], lengths: Declared, examples: Any, examples_per_unit: int = 1
) -> tuple[Any, list[dict[int, Any] | None]]:
    """A batch of the same kind with sizes of no meaning, and its dims that are symbols: one example without them."""
    leaves, structure = pytree.tree_flatten(batch)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    taken = {size for leaf in tensors for size in leaf.shape[1:]}
    size = prime_beside(taken) * examples_per_unit if examples else 1
    letters: dict[str, int] = {}
    for letter in (letter for dims in lengths.values() for letter in dims.values()):
        letters.setdefault(letter, prime_beside({*taken, size, *letters.values()}))
    made = iter(
        t.new_empty((size, *(letters[own[d]] if d in own else k for d, k in enumerate(t.shape[1:], 1))))
        for t, own in zip(tensors, (lengths.get(name, {}) for name in names), strict=True)
    )
    leaves = [next(made) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return pytree.tree_unflatten(leaves, structure), dims_of(names, lengths, examples)


def lengths_of(
    names: Sequence[str], given: Declared, batch: Sequence[Tensor], traced: Sequence[Tensor]
) -> list[Length]:
    """The lengths of a batch; ``traced`` are the same tensors with symbols for sizes.

    Raises:
        UntraceableModel: where the model takes one size of a length only.
    """
    found: list[Length] = []
    for letter, places in places_of(names, given).items():
        sizes: list[Any] = [traced[place].shape[dim] for place, dim in places]
        fixed = [size for size in sizes if not isinstance(size, torch.SymInt) or not size.node.expr.is_Symbol]
        if fixed:
            raise UntraceableModel(
                f"the model works only where the length {letter} is {fixed[0]}",
                remedy="leave it out of dynamic=; or take it as x.shape[d] wherever the model needs it",
            )
        nodes = [size.node for size in sizes]
        place, dim = places[0]
        upper = min(node.shape_env.var_to_range[node.expr].upper for node in nodes)
        found.append(
            Length(
                sympy.Symbol(letter, integer=True, positive=True),
                places,
                batch[place].shape[dim],
                tuple(dict.fromkeys(node.expr for node in nodes)),
                most=int(upper) if isinstance(upper, sympy.Integer) else None,
            )
        )
    return found


def bounded(lengths: Sequence[Length], traced: Sequence[Tensor], examples: Any) -> tuple[Length, ...]:
    """The lengths with the shortest for which the graph holds; ``examples`` is torch's symbol for their number.

    Raises:
        UntraceableModel: where it holds for some lengths only, whatever the shortest is.
    """
    if not lengths:
        return ()
    conditions = list(conditions_on(lengths, traced))
    most = {symbol: x.most or 2**31 for x in lengths for symbol in x.exported}
    unmet: list[sympy.Basic] = []
    for least in SHORTEST:
        unmet = [c for c in conditions if differs(c, True, least=least, most=most)]
        if not unmet:
            return tuple(replace(length, least=least) for length in lengths)
    letters = {examples: sympy.Symbol("N")} | {symbol: x.letter for x in lengths for symbol in x.exported}
    raise UntraceableModel(
        f"the model works only for lengths with {relation(unmet[0].xreplace(letters))}",
        remedy="leave that length out of dynamic=: every size of it is then compiled for",
    )


def relation(condition: sympy.Basic) -> str:
    """A condition as Python writes it: ``T != N``."""
    if isinstance(condition, sympy.core.relational.Relational):
        return f"{condition.lhs} {condition.rel_op} {condition.rhs}"
    return str(condition)


def conditions_on(lengths: Sequence[Length], traced: Sequence[Tensor]) -> Iterator[sympy.Basic]:
    """What torch took for true of the lengths while it traced."""
    sizes: Iterator[Any] = (size for tensor in traced for size in tensor.shape if isinstance(size, torch.SymInt))
    symbols = {symbol for x in lengths for symbol in x.exported}
    for environment in {id(e): e for e in (size.node.shape_env for size in sizes)}.values():
        deferred = [a.expr for asserts in environment.deferred_runtime_asserts.values() for a in asserts]
        for condition in [guard.expr for guard in environment.guards] + deferred:
            own = condition.xreplace(environment.replacements)
            if own.free_symbols & symbols:
                yield own


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


def cut_to(batch: Any, lengths: Mapping[Length, int]) -> Any:
    """The first positions of a batch: those before a size, along each length."""
    leaves, structure = pytree.tree_flatten(batch)
    tensors = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    for length, size in lengths.items():
        for place, dim in length.places:
            leaves[tensors[place]] = leaves[tensors[place]].narrow(dim, 0, size).contiguous()
    return pytree.tree_unflatten(leaves, structure)


@contextmanager
def written_with_letters(given: Declared) -> Iterator[None]:
    """Within it, what needs the number that a letter stands for is refused.

    Raises:
        UntraceableModel: where sympy is asked for it.
    """
    try:
        yield
    except TypeError as error:
        if not given or not WITHOUT_NUMBER.search(str(error)):
            raise
        letters = ", ".join(dict.fromkeys(letter for dims in given.values() for letter in dims.values()))
        raise UntraceableModel(
            f"an op of the model is analysed only for lengths that are numbers, not for {letters}: {error}",
            remedy="leave that length out of dynamic=; every size of it is then compiled for",
        ) from error


def prime_beside(sizes: Iterable[int]) -> int:
    """A prime of at least 5 that none of some sizes is, so that no dim is taken for another."""
    taken = set(sizes)
    return next(p for p in count(5) if p not in taken and all(p % k for k in range(2, p)))
