"""Σ_s δ[s,v] ȳ[s,d]: gradients of rows that were looked up, never with a dim for every row of the table.

δ is 1 where place s reads row v. So a sum over v picks the row, and a sum over s adds up the rows of equal number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy

from clipcompiler.algebra import Cross, Factor, Letter, Network
from clipcompiler.codegen.calls import literal
from clipcompiler.codegen.helpers import RENUMBERED, SCATTERED
from clipcompiler.codegen.laid import Laid, atom, contracted, permuted, spread
from clipcompiler.codegen.operands import Operands
from clipcompiler.derive.references import Indicator

__all__ = ["Rows", "flattened", "multiplied", "same_row"]


@dataclass(frozen=True, slots=True)
class Rows:
    """A network with an indicator, as numbers of rows and what is added to them.

    Attributes:
        network: the gradient.
        row: the letter v.
        places: the numbers looked up, [n, S].
        values: what each place adds to its row, [n, S, D].
    """

    network: Network
    row: Letter
    places: str
    values: str

    @property
    def own(self) -> tuple[Letter, ...]:
        """The letters of the parameter within a row."""
        return tuple(x for x in self.network.output[1:] if x != self.row)

    @property
    def letters(self) -> tuple[Letter, ...]:
        """n, v and the letters within a row."""
        return (self.network.output[0], self.row, *self.own)

    @classmethod
    def of(cls, operands: Operands, network: Network, cotangent: str | None = None) -> Rows:
        """Lays out the factors of a network; ``cotangent`` stands in for the first of them."""
        factor = indicator_of(network)
        order = (network.output[0], *network.summed)
        own = [x for x in network.output[1:] if x not in factor.determined]
        ids = numbers(operands, factor)
        places = flattened(Laid(spread(ids, order), order), [order[:1], order[1:]])
        total = product(operands, network, cotangent)
        letters = (*order, *own)
        values = spread(total, letters)
        if any(x not in total.letters for x in letters):
            values = f"{atom(values)}.expand({', '.join(literal(x.extent) for x in letters)})"
        values = flattened(Laid(values, letters), [order[:1], order[1:], own])
        reference = factor.tensor.reference
        assert isinstance(reference, Indicator)
        places = operands.body.bind("places", places)
        if reference.skipped is not None:
            values = f"{atom(values)} * ({places} != {reference.skipped})[..., None]"
        return cls(network, next(iter(factor.determined)), places, values)

    def each(self) -> Laid:
        """g[n,v,d]"""
        text = f"{SCATTERED}({self.places}, {self.values}, {literal(self.row.extent)})"
        if len(self.own) != 1:
            text = f"{text}.reshape({', '.join(literal(x.extent) for x in self.letters)})"
        return permuted(Laid(text, self.letters), self.network.output)

    def compact(self) -> str:
        """The rows of g[n] that are not zero, [n, S, D]: numbered within the example, not within the table."""
        size = sympy.prod([x.extent for x in self.network.summed])
        if sympy.sympify(self.row.extent - size).is_nonpositive:
            return f"{SCATTERED}({self.places}, {self.values}, {literal(self.row.extent)})"
        return f"{SCATTERED}({RENUMBERED}({self.places}), {self.values}, {literal(size)})"

    def added_to(self, total: str) -> str:
        """The statement that adds Σ_n g[n,v,d], of values that are scaled, to a tensor [V, D]."""
        return f"{total}.index_put_(({self.places},), {self.values}, accumulate=True)"

    def total(self) -> Laid:
        """Σ_n g[n,v,d], of values that are scaled."""
        size = literal(self.row.extent)
        text = f"aten.embedding_dense_backward.default({self.values}, {self.places}, {size}, -1, False)"
        letters = self.letters[1:]
        if len(self.own) != 1:
            text = f"{text}.reshape({', '.join(literal(x.extent) for x in letters)})"
        return permuted(Laid(text, letters), self.network.output[1:])


def indicator_of(network: Network) -> Factor:
    """The factor δ of a network."""
    return next(f for f in network.factors if f.tensor.indicates)


def numbers(operands: Operands, factor: Factor) -> Laid:
    """The numbers of the rows that an indicator looks up, one dim a letter."""
    reference = factor.tensor.reference
    assert isinstance(reference, Indicator)
    laid = operands.laid(reference.places)
    if not reference.wraps:
        return laid
    (row,) = factor.determined
    return Laid(operands.body.bind("rows", f"{atom(laid.text)} % {atom(literal(row.extent))}"), laid.letters)


def product(operands: Operands, network: Network, cotangent: str | None) -> Laid:
    """The factors of a network beside the indicator, multiplied element by element."""
    first = network.factors[0]
    total = operands.laid(first) if cotangent is None else operands.laid_as(cotangent, first)
    for factor in network.factors[1:]:
        if not factor.tensor.indicates:
            other = operands.laid(factor)
            total = contracted(total, other, [*total.letters, *other.letters])
    return total


def flattened(x: Laid, groups: Sequence[Sequence[Letter]]) -> str:
    """The dims of x as one for each group of letters."""
    if all(len(group) == 1 for group in groups):
        return x.text
    sizes = (sympy.prod([letter.extent for letter in group]) for group in groups)
    return f"{atom(x.text)}.reshape({', '.join(map(literal, sizes))})"


def same_row(operands: Operands, a: Factor, b: Factor, renamed: Mapping[Letter, Letter]) -> Laid:
    """Σ_v δ[s,v] δ'[s',v]: 1 where two places look up one row, which is not skipped."""
    left, right = numbers(operands, a), numbers(operands, b)
    right = Laid(right.text, tuple(renamed.get(x, x) for x in right.letters))
    union = tuple(dict.fromkeys((*left.letters, *right.letters)))
    text = f"({spread(left, union)} == {spread(right, union)})" if left != right else ""
    for laid, factor in ((left, a), (right, b)):
        skipped = factor.tensor.reference.skipped
        if skipped is not None:
            mask = f"({spread(laid, union)} != {skipped})"
            text = text if mask in text else " & ".join(filter(None, (text, mask)))
    return Laid(f"({text})" if "&" in text else text, union)


def taken(operands: Operands, indicator: Factor, other: Laid, names: Mapping[Letter, Letter], example: Letter) -> Laid:
    """Σ_v δ[s,v] y[t,v] = y[t, i[s]]: no sum, the elements are looked up. ``names`` renames the letters of δ."""
    ids = numbers(operands, indicator)
    ids = Laid(ids.text, tuple(names.get(x, x) for x in ids.letters))
    (row,) = (names.get(x, x) for x in indicator.determined)
    kept = tuple(x for x in other.letters if x not in (example, row))
    places = tuple(x for x in ids.letters if x != example)
    source = permuted(other, (example, *kept, row))
    kept_size, size = (sympy.prod([x.extent for x in letters]) for letters in (kept, places))
    flat = flattened(source, [(example,), kept, (row,)])
    index = flattened(permuted(ids, (example, *places)), [(example,), places])
    text = f"{atom(flat)}.gather(2, {atom(index)}[:, None].expand(-1, {literal(kept_size)}, {literal(size)}))"
    letters = (example, *kept, *places)
    if len(kept) != 1 or len(places) != 1:
        text = f"{text}.reshape({', '.join(literal(x.extent) for x in letters)})"
    skipped = indicator.tensor.reference.skipped
    if skipped is not None:
        text = f"({text} * {spread(Laid(f'({ids.text} != {skipped})', ids.letters), letters)})"
    return Laid(text, letters)


def multiplied(operands: Operands, cross: Cross, k: int) -> Laid:
    """The product of factor k of a network and its mate in the other, over the letters of the parameter."""
    names = cross.names
    a, b = cross.first.factors[k], cross.second.factors[cross.pairs[k]]
    kept = [cross.first.output[0], *cross.positions]
    if a.tensor.indicates and b.tensor.indicates:
        return same_row(operands, a, b, names)
    left = None if a.tensor.indicates else operands.laid(a)
    right = None if b.tensor.indicates else operands.laid(b)
    if right is not None:
        right = Laid(right.text, tuple(names[x] for x in right.letters))
    if left is None:
        assert right is not None
        return taken(operands, a, right, {}, kept[0])
    if right is None:
        return taken(operands, b, left, names, kept[0])
    return contracted(left, right, kept)
