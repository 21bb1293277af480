"""The letters of an equation."""

from __future__ import annotations

import re
from dataclasses import dataclass

import sympy

__all__ = ["At", "Entry", "Star", "at", "index_family", "indices", "star_letters"]

#: One dim of an access: a letter, a product of letters (a tuple), an affine expression of letters, a place
#: that an element of another operand names, or 0 (a dim of size 1 that is broadcast).
Entry = sympy.Basic


@dataclass(frozen=True, slots=True)
class Star:
    """Any number of letters: as many as the operand has dims left over.

    The letters are counted from the right, so that operands of different ranks align as they broadcast.
    """

    name: str

    def letters(self, count: int) -> list[sympy.Symbol]:
        """The letters of ``count`` dims, leftmost first."""
        return [sympy.Symbol(f"{self.name}_{k}", integer=True) for k in range(count, 0, -1)]


class At(sympy.Function):  # type: ignore[misc]
    """The place that an element of another operand names: At(i[s], skipped, counted from the end where negative)."""


def at(index: sympy.Expr, *, skipped: int | None = None, wraps: bool = False) -> At:
    """``weight[at(i[s]), d]``: the row of ``weight`` whose number is the element ``i[s]``.

    ``skipped`` is a number whose row gets no gradient, as the padding of an embedding. ``wraps`` says that −1 is the
    last row.
    """
    return At(index, sympy.S.NegativeInfinity if skipped is None else sympy.Integer(skipped), sympy.Integer(wraps))


def indices(names: str) -> tuple[sympy.Symbol | Star, ...]:
    """``"n *s i o"`` → the letters n, i and o and the star s, in the order written.

    A plain name is one dim; a name behind ``*`` is any number of dims. The name ``n`` stands by convention
    for the leading dim; it may be absent from operands of too few dims. Which letter carries the examples
    is not said here: the axis analysis finds it.
    """
    return tuple(Star(name[1:]) if name.startswith("*") else sympy.Symbol(name, integer=True) for name in names.split())


def index_family(name: str, count: int) -> tuple[sympy.Symbol, ...]:
    """``count`` letters of one name, as the spatial offsets of a convolution: k₁, k₂, …"""
    return tuple(sympy.Symbol(f"{name}{k + 1}" if count > 1 else name, integer=True) for k in range(count))


def star_letters(star: Star, expression: sympy.Basic) -> list[sympy.Symbol]:
    """The letters of ``star`` that occur in ``expression``, leftmost first."""
    pattern = re.compile(rf"{re.escape(star.name)}_(\d+)")
    found = {int(m.group(1)) for s in expression.free_symbols if (m := pattern.fullmatch(str(s)))}
    return star.letters(max(found, default=0))
