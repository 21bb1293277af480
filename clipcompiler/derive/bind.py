"""equation + extents + layouts → the letters of this one use, with n where the examples lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra import Affine, Index, Letter
from clipcompiler.algebra.network import letters_of, show_index
from clipcompiler.axes.layout import EXAMPLES, Axis, Dim, Layout, size_of
from clipcompiler.dsl import Equation
from clipcompiler.dsl.equation import accesses
from clipcompiler.dsl.indices import At
from clipcompiler.errors import NoRule
from clipcompiler.origin import Origin
from clipcompiler.trace.traced import N

__all__ = ["EXAMPLE", "Bound", "bind"]

#: The letter of the examples in every derived network.
EXAMPLE = Letter("n", N, examples=True)
#: A letter of a star, counted from the right.
STAR = re.compile(r"(\w+)_(\d+)")


@dataclass(frozen=True, slots=True)
class Bound:
    """An equation with its letters bound.

    Attributes:
        equation: the rule's equation for these arguments.
        output: the letters of the output, dim by dim.
        reads: the letters of every access on the right side, dim by dim.
        lookups: for a letter that stands for a place looked up, where it is looked up.
    """

    equation: Equation
    output: tuple[Index, ...]
    reads: Mapping[sympy.Indexed, tuple[Index, ...]]
    lookups: Mapping[Letter, At]

    def show(self, symbol: Callable[[str], str]) -> str:
        """The equation as it is written, operands by the symbols that ``symbol`` gives."""
        written = {a: self.written(a, symbol) for a in self.reads}
        value = self.equation.value.xreplace({a: sympy.Symbol(text) for a, text in written.items()})
        inside = {x for a in self.reads for x in letters_of(self.reads[a])} - {*letters_of(self.output), *self.lookups}
        ordered = [x for a in self.reads for x in letters_of(self.reads[a]) if x in inside]
        total = f"Σ_{{{','.join(map(str, dict.fromkeys(ordered)))}}} " if ordered else ""
        return f"y[{shown(self.output)}] = {total}{str(value).replace('**', '^').replace('*', ' ')}"

    def written(self, access: sympy.Indexed, symbol: Callable[[str], str]) -> str:
        """An element read, its letters bound: W[i[n,s],d]."""
        entries = []
        for own, index in zip(access.indices, self.reads[access] or ((),), strict=True):
            entries.append(self.written(own.args[0], symbol) if isinstance(own, At) else show_index(index))
        return f"{symbol(str(access.base.label))}[{','.join(entries)}]"


def bind(equation: Equation, layouts: Mapping[str, Layout], output: Layout, origin: Origin) -> Bound:
    """Gives every letter its extent; splits the letter of a dim that holds the examples among others.

    ``layouts`` are those of the operands and auxiliaries by name. A dim of extent 1 that others broadcast
    against is read at no letter.
    """
    sides: list[tuple[tuple[Any, ...], Layout]] = [(equation.index, output)]
    reads = sorted(accesses(equation.value), key=str)
    sides += [(a.indices, layouts[str(a.base.label)]) for a in reads if layouts[str(a.base.label)]]
    letters = Letters(dict(equation.extents), origin)
    for index, layout in sides:
        letters.learn(index, layout)
    for index, layout in sides:
        letters.learn_products(index, layout)
    bound = letters.index(equation.index, output)
    read = {a: letters.index(a.indices, layouts[str(a.base.label)]) for a in reads}
    return Bound(equation, bound, read, letters.lookups)


class Letters:
    """What is known of the letters of an equation: the axes that each runs over."""

    def __init__(self, extents: dict[sympy.Symbol, Any], origin: Origin) -> None:
        self.dims: dict[sympy.Symbol, Dim] = {s: (Axis(size, examples=size == N),) for s, size in extents.items()}
        self.origin = origin
        self.names: dict[tuple[sympy.Symbol, int], str] = {}
        self.lookups: dict[Letter, At] = {}

    def learn(self, index: tuple[Any, ...], layout: Layout) -> None:
        """A letter alone in a dim runs over the axes of that dim; the largest dim counts."""
        for entry, dim in zip(index, layout, strict=True):
            if entry.is_Symbol:
                known = self.dims.get(entry, ())
                if size_of(known) == 1 or any(axis.examples for axis in dim):
                    self.dims[entry] = dim

    def learn_products(self, index: tuple[Any, ...], layout: Layout) -> None:
        """The one unknown letter of a product has the extent that the others leave it."""
        for entry, dim in zip(index, layout, strict=True):
            if not isinstance(entry, sympy.Tuple):
                continue
            unknown = [s for s in entry if s not in self.dims]
            if len(unknown) > 1:
                raise NoRule(f"the extents of {unknown} are not known", origin=self.origin, remedy="mend the rule")
            for symbol in unknown:
                rest = sympy.prod([size_of(self.dims[s]) for s in entry if s != symbol])
                self.dims[symbol] = (Axis(size_of(dim) / rest),) if any(a.examples for a in dim) else whole(dim, rest)

    def index(self, index: tuple[Any, ...], layout: Layout) -> tuple[Index, ...]:
        """The letters of an access, dim by dim."""
        return tuple(self.entry(entry, dim) for entry, dim in zip(index, layout or ((),) * len(index), strict=True))

    def entry(self, entry: Any, dim: Dim) -> Index:
        """The letters of one dim."""
        if entry.is_Symbol:
            return self.split(entry) if dim or size_of(self.dims[entry]) == 1 else ()
        if isinstance(entry, sympy.Tuple):
            return tuple(letter for symbol in entry for letter in self.split(symbol))
        if entry.is_Integer:
            return ()
        if isinstance(entry, At):
            return self.looked_up(entry, dim)
        return self.affine(entry)

    def looked_up(self, entry: At, dim: Dim) -> tuple[Letter, ...]:
        """W[i[s]] → the letter v of that dim, with v = i[s]."""
        letter = Letter(self.unique(sympy.Symbol("v"), len(self.lookups), False), size_of(dim))
        self.lookups[letter] = entry
        return (letter,)

    def split(self, symbol: sympy.Symbol) -> tuple[Letter, ...]:
        """s over 5·n·3 → s0, n, s1."""
        dim = self.dims[symbol] or (Axis(1),)
        several = sum(not axis.examples for axis in dim) > 1
        return tuple(
            EXAMPLE if axis.examples else Letter(self.unique(symbol, k, several), axis.size)
            for k, axis in enumerate(dim)
        )

    def unique(self, symbol: sympy.Symbol, piece: int, several: bool) -> str:
        """A name that no other letter of the equation has: two letters of one name would be one letter."""
        if (symbol, piece) not in self.names:
            wanted = f"{self.name(symbol)}{piece}" if several else self.name(symbol)
            while wanted in self.names.values():
                wanted += "_"
            self.names[symbol, piece] = wanted
        return self.names[symbol, piece]

    def name(self, symbol: sympy.Symbol) -> str:
        """n without examples as t; s_1, counted from the right, as s where it is alone, else from the left: s1, s2."""
        star = STAR.fullmatch(str(symbol))
        if star is None:
            return "t" if str(symbol) == "n" else str(symbol)
        base = star.group(1)
        family = [s for s in self.dims if (m := STAR.fullmatch(str(s))) and m.group(1) == base]
        ordered = sorted((s for s in family if self.dims[s] != (EXAMPLES,)), key=place_in_star, reverse=True)
        return base if len(ordered) <= 1 else f"{base}{ordered.index(symbol) + 1}"

    def affine(self, expression: sympy.Expr) -> Affine:
        """stride·u + dilation·k − padding, as steps and an offset."""
        steps = expression.as_coefficients_dict()
        offset = int(steps.pop(sympy.S.One, 0))
        ordered = sorted(steps.items(), key=lambda item: str(item[0]), reverse=True)
        return Affine(tuple((int(step), self.split(s)[0]) for s, step in ordered), offset)


def place_in_star(symbol: sympy.Symbol) -> int:
    """The place of a letter of a star, counted from the right."""
    return int(str(symbol).rpartition("_")[2])


def shown(index: tuple[Index, ...]) -> str:
    """The letters of an access, as they are written."""
    return ",".join(show_index(e) for e in index)


def whole(dim: Dim, rest: Any) -> Dim:
    """The axis that remains of a dim when ``rest`` of it is taken."""
    return (Axis(size_of(dim) // rest),)
