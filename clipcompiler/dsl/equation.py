"""An op as an equation between elements, from which everything else is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy

from clipcompiler.dsl.forms import Aligned, Source, broadcast_sources, is_one
from clipcompiler.dsl.indices import At, Entry, Star, star_letters
from clipcompiler.dsl.operand import Absent, Access, Auxiliary, Extent, Operand, entry

__all__ = ["Equation", "accesses", "equation", "expands", "pointwise"]


@dataclass(frozen=True, slots=True)
class Equation:
    """out[index] = Σ value, the sum running over every letter of a term that is not in ``index``.

    An affine entry on the left scatters: every (letters) adds to the element it points at. Elements read
    outside an operand are 0.

    Attributes:
        index: the letters of the output, one entry a dim.
        value: the right side; its ``sympy.Indexed`` are the elements read, by operand name.
        extents: the extents of letters that no dim has for itself, such as the groups of a convolution.
        where: tensors that the right side reads and the rule computes.
        sizes: the arguments that are numbers are sizes, and may contain the batch size.
        rest: further equations whose right sides are added, each with its own left side.
    """

    index: tuple[Entry, ...]
    value: sympy.Expr
    extents: tuple[tuple[sympy.Symbol, Extent], ...] = ()
    where: tuple[Auxiliary, ...] = ()
    sizes: bool = False
    rest: tuple[Equation, ...] = ()

    def __str__(self) -> str:
        return " and ".join(f"out[{', '.join(map(str, e.index))}] += {e.value}" for e in self.parts)

    def __add__(self, other: Equation) -> Equation:
        return replace(self, rest=(*self.rest, *other.parts))

    @property
    def parts(self) -> tuple[Equation, ...]:
        """The equations whose right sides add up to the output."""
        return (replace(self, rest=()), *self.rest)

    def reads(self, operand: str) -> bool:
        """Whether a right side reads the operand itself (not through an auxiliary)."""
        return any(str(a.base.label) == operand for e in self.parts for a in accesses(e.value))

    def alignment(self) -> Aligned:
        """The dims that hold one and the same letter (or product of letters) on both sides."""
        rows: list[tuple[Source, ...]] = []
        for column in zip(*(e.index for e in self.parts), strict=True):
            found: list[Source] = []
            for e, part in zip(column, self.parts, strict=True):
                if e.is_Symbol or isinstance(e, sympy.Tuple):
                    found += part._places(e)
            rows.append(tuple(dict.fromkeys(found)))
        return Aligned(tuple(rows), sizes=self.sizes, lookups=self.lookups)

    @property
    def lookups(self) -> tuple[tuple[Source, str], ...]:
        """The dims read at the places that another operand names, and that operand."""
        read = [a for part in self.parts if part.value.has(At) for a in sorted(accesses(part.value), key=str)]
        return tuple(
            ((str(a.base.label), dim), str(e.args[0].base.label))
            for a in read
            for dim, e in enumerate(a.indices)
            if isinstance(e, At)
        )

    def _places(self, wanted: Entry) -> Iterable[Source]:
        for access in sorted(accesses(self.value), key=str):
            for dim, e in enumerate(access.indices):
                if e == wanted:
                    yield str(access.base.label), dim


def accesses(value: sympy.Basic) -> set[sympy.Indexed]:
    """Every element that an expression reads."""
    return {a for a in value.atoms(sympy.Indexed) if isinstance(a, sympy.Indexed)}


def equation(
    left: Access,
    value: sympy.Expr,
    *,
    extents: Mapping[sympy.Symbol, Extent] | None = None,
    where: Iterable[Auxiliary] = (),
) -> Equation:
    """``equation(out[n, s, o], input[n, s, i] * weight[o, i] + bias[o])``.

    ``extents`` gives the extent of letters that only occur in products, ``where`` the auxiliaries read.
    Beside a star, the letter n is dropped on the left where the right side has none.
    """
    names = {str(s) for s in value.free_symbols}
    optional = any(isinstance(e, Star) for e in left.index) and "n" not in names
    index: list[Entry] = []
    for e in left.index:
        if isinstance(e, Star):
            index += star_letters(e, value)
        elif str(e) != "n" or not optional:
            index.append(entry(e))
    return Equation(tuple(index), value, tuple((extents or {}).items()), tuple(where))


def pointwise(function: Callable[..., sympy.Expr] | None, *operands: Any) -> Equation | Aligned:
    """y = function(operands), element by element, with broadcasting.

    ``operands`` are tensors or numbers. With ``function=None`` only the places are stated: the derivative
    for a parameter is then taken by automatic differentiation, element by element. So it is where the formula
    loses an operand, as 0·x does.
    """
    tensors = [o for o in operands if isinstance(o, Operand)]
    if function is None:
        return Aligned(broadcast_sources(tensors), pointwise=True)
    ndim = max(o.ndim for o in tensors)
    letters = Star("s").letters(ndim)

    def element(o: Any) -> Any:
        if not isinstance(o, Operand):
            return int(o) if isinstance(o, bool) else o
        own = letters[ndim - o.ndim :]
        return o[tuple(sympy.Integer(0) if is_one(size) else k for k, size in zip(own, o.shape, strict=True))]

    value = sympy.sympify(function(*(element(o) for o in operands if not isinstance(o, Absent))))
    if len({str(a.base.label) for a in accesses(value)}) < len(tensors):
        return Aligned(broadcast_sources(tensors), pointwise=True)
    return Equation(tuple(letters), value)


def expands(input: Operand, to: Iterable[Extent]) -> Equation:
    """y[…, s] = x[s]: dims of extent 1 and new dims on the left repeat the same element."""
    sizes = list(to)
    letters = Star("s").letters(len(sizes))
    own = letters[len(sizes) - input.ndim :]
    index = (sympy.Integer(0) if is_one(size) else k for k, size in zip(own, input.shape, strict=True))
    return Equation(tuple(letters), input[tuple(index)], sizes=True)
