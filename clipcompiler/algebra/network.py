"""Tensor networks: products of accessed tensors, summed over letters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sympy

__all__ = ["Affine", "Factor", "Index", "Letter", "Network", "Tensor", "letters_of"]


@dataclass(frozen=True, slots=True)
class Letter:
    """An index with its extent.

    Attributes:
        name: how it is written.
        extent: its number of values: a number, or N.
        examples: whether it counts the examples.
    """

    name: str
    extent: Any
    examples: bool = False

    def __str__(self) -> str:
        return self.name

    def primed(self) -> Letter:
        """The same index in the second copy of a squared network."""
        return Letter(self.name + "'", self.extent, self.examples)


@dataclass(frozen=True, slots=True)
class Affine:
    """The place Σ step·letter + offset along one dim; outside the dim the element is 0.

    Attributes:
        terms: the steps and their letters.
        offset: the place where every letter is 0.
    """

    terms: tuple[tuple[int, Letter], ...]
    offset: int

    def __str__(self) -> str:
        text = "+".join(f"{step}{letter}" if step != 1 else str(letter) for step, letter in self.terms)
        return text + (f"{self.offset:+d}" if self.offset else "")


#: One dim of an access: a product of letters (() for a dim of extent 1), or an affine place.
Index = tuple[Letter, ...] | Affine


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor by the symbol it is written with, and what it stands for.

    Attributes:
        symbol: how it is written: ȳ, x, W, x̂.
        reference: what it is in the program: a value of the graph, a cotangent, an expression.
        indicates: whether it is 1 for one value of its last letter (at most) and 0 for the others.
    """

    symbol: str
    reference: Any
    indicates: bool = False


@dataclass(frozen=True, slots=True)
class Factor:
    """A tensor accessed by letters."""

    tensor: Tensor
    index: tuple[Index, ...]

    def __str__(self) -> str:
        return f"{self.tensor.symbol}[{','.join(show_index(e) for e in self.index)}]"

    @property
    def letters(self) -> tuple[Letter, ...]:
        """The letters of the access, each once, in order."""
        return letters_of(self.index)

    @property
    def determined(self) -> frozenset[Letter]:
        """The letter of an indicator that its other letters determine: a sum over it has one term."""
        last = self.index[-1] if self.tensor.indicates else ()
        return frozenset(last) if isinstance(last, tuple) else frozenset()

    @property
    def is_affine(self) -> bool:
        """Whether a dim is read at an affine place."""
        return any(isinstance(e, Affine) for e in self.index)


@dataclass(frozen=True, slots=True)
class Network:
    """output[letters] = coefficient · Σ Π factors, the sum over every letter not in ``output``.

    Raises:
        ValueError: where a letter of the output occurs in no factor.
    """

    output: tuple[Letter, ...]
    factors: tuple[Factor, ...]
    coefficient: Any = 1

    def __post_init__(self) -> None:
        known = {letter for f in self.factors for letter in f.letters}
        missing = [str(letter) for letter in self.output if letter not in known]
        if missing:
            raise ValueError(f"{', '.join(missing)} of the output occurs in no factor of {self}")

    def __str__(self) -> str:
        return f"Σ_{{{','.join(map(str, self.summed))}}} {self.product}" if self.summed else self.product

    @property
    def product(self) -> str:
        """The product under the sum."""
        head = [] if self.coefficient == 1 else [str(self.coefficient)]
        return " ".join([*head, *map(str, self.factors)])

    @property
    def letters(self) -> tuple[Letter, ...]:
        """Every letter, in order of appearance."""
        return tuple(dict.fromkeys(letter for f in self.factors for letter in f.letters))

    @property
    def summed(self) -> tuple[Letter, ...]:
        """The letters summed over."""
        return tuple(letter for letter in self.letters if letter not in self.output)

    @property
    def determined(self) -> frozenset[Letter]:
        """The letters that indicators determine."""
        return frozenset(x for f in self.factors for x in f.determined)

    @property
    def size(self) -> Any:
        """The number of elements of the output."""
        return sympy.prod([letter.extent for letter in self.output])


def letters_of(index: Iterable[Index]) -> tuple[Letter, ...]:
    """The letters of an index, each once, in order."""
    found: dict[Letter, None] = {}
    for entry in index:
        inner = [letter for _, letter in entry.terms] if isinstance(entry, Affine) else entry
        found.update(dict.fromkeys(inner))
    return tuple(found)


def show_index(entry: Index) -> str:
    """One dim of an access, as it is written."""
    if isinstance(entry, Affine):
        return str(entry)
    return "·".join(map(str, entry)) or "1"
