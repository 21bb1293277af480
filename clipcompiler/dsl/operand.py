"""What a rule sees of a tensor argument: its shape, and access to it by letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.dsl.indices import Entry, Star, at

__all__ = ["ABSENT", "Absent", "Auxiliary", "Operand", "Output", "auxiliary", "out"]

#: An extent: a number, or an expression in the symbol N of the batch size.
Extent = Any


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor argument of an op. ``input[n, s, i]`` is its element at those letters.

    Attributes:
        name: the name of the argument in the op's schema (``weight``, ``tensors[0]``).
        shape: the extent of each dim.
    """

    name: str
    shape: tuple[Extent, ...]

    @property
    def ndim(self) -> int:
        """The number of dims."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> sympy.Expr:
        entries = fill(index if isinstance(index, tuple) else (index,), self.ndim, self.name)
        if not entries:
            return sympy.Indexed(sympy.IndexedBase(self.name), sympy.Integer(0))
        return sympy.Indexed(sympy.IndexedBase(self.name), *entries)


@dataclass(frozen=True, slots=True)
class Absent:
    """An optional tensor that was not given: false, and 0 wherever it is read."""

    name: str = ""

    def __bool__(self) -> bool:
        return False

    def __getitem__(self, index: Any) -> sympy.Expr:
        return sympy.Integer(0)


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Auxiliary(Operand):
    """A tensor that the equation reads and the op does not return, such as a normalised input.

    Attributes:
        op: the op that computes it from the arguments of the rule.
        args: the arguments of that op.
    """

    op: Any = None
    args: tuple[Any, ...] = ()


def auxiliary(name: str, op: Any, like: Operand, *args: Any) -> Auxiliary:
    """``name`` = op(like, *args), of the shape of ``like``."""
    return Auxiliary(name, like.shape, op, (like, *args))


@dataclass(frozen=True, slots=True)
class Access:
    """The left side of an equation: the letters of the output."""

    index: tuple[Any, ...]


class Output:
    """The output of the op: ``out[n, s, o]`` is the left side of its equation."""

    def __getitem__(self, index: Any) -> Access:
        return Access(index if isinstance(index, tuple) else (index,))


out = Output()


def entry(index: Any) -> Entry:
    """A letter, a product of letters, an affine expression or a place looked up, as sympy sees it."""
    if isinstance(index, sympy.Indexed):
        return at(index)
    return sympy.Tuple(*index) if isinstance(index, tuple) else sympy.sympify(index)


def fill(index: Sequence[Any], ndim: int, name: str) -> list[Entry]:
    """Gives the star as many letters as ``ndim`` leaves; drops a leading n where there is no dim for it."""
    entries = list(index)
    fixed = sum(not isinstance(e, Star) for e in entries)
    if ndim < fixed and str(entries[0]) == "n":
        entries, fixed = entries[1:], fixed - 1
    stars = [e for e in entries if isinstance(e, Star)]
    if ndim < fixed or len(stars) > 1 or (not stars and ndim != fixed):
        raise ValueError(f"{name} has {ndim} dims, which the letters {tuple(map(str, index))} do not fit")
    filled: list[Entry] = []
    for e in entries:
        filled += e.letters(ndim - fixed) if isinstance(e, Star) else [entry(e)]
    return filled
