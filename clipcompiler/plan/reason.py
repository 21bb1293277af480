"""Why an order was chosen: the costs that were compared, for one example.

For g[o,i] = Σ_s ȳ[s,o] x[s,i], with S, O and I the extents of s, o and i:
instantiating costs S·O·I products, the Gram S²·(O + I).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import sympy

from clipcompiler.algebra import Affine, Letter, Network
from clipcompiler.derive.by_unit import MEMBER
from clipcompiler.derive.references import EachOfOp
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.machine import NOMINAL_UNIT
from clipcompiler.plan.table import amount_of
from clipcompiler.trace.source import op_name

__all__ = ["reason"]

#: The usual sizes of what is a letter in an extent.
Lengths = Mapping[sympy.Symbol, int]
NONE: Lengths = MappingProxyType({})


def reason(best: Choice, lengths: Lengths = NONE) -> str:
    """One line: both sides of the comparison that decided, at the usual lengths, or what made one unnecessary."""
    uses = sum(len(term.uses) for term in best.terms)
    if best.order is Order.CROSSED:
        return f"{uses} uses in {len(best.terms)} equations: their products form no g"
    if len(best.terms) > 1:
        return f"{uses} uses, added before the square"
    return f"{uses} uses, one behind the other: {of_one(best, lengths)}" if uses > 1 else of_one(best, lengths)


def of_one(best: Choice, lengths: Lengths) -> str:
    """The reason for a single term."""
    if best.terms[0].of_op is not None:
        return way_of(best.terms[0].of_op)
    network = at_nominal(best.terms[0].each, lengths)
    if best.order is Order.BY_ROW:
        return "rows are added where an example reads one row again"
    if best.order is Order.GRAM and any(f.tensor.indicates for f in network.factors):
        how = " by a kernel" if best.kernel else ""
        return f"places that read one row are paired{how}; no row is formed"
    if best.order is Order.RANK_ONE:
        return "no position is summed: ‖g‖² = ‖ȳ‖²‖x‖²"
    if len(network.factors) == 1:
        return "g is a sum of ȳ"
    if len(network.factors) > 2:
        return "the least predicted time of all orders"
    if sizes(network)[1:] == (1, 1):
        return "g is a sum of elementwise products"
    return compared(best, network, lengths)


def way_of(each: EachOfOp) -> str:
    """What stands in for an equation."""
    how = "vmap of its vjp" if each.vmapped else "its vjp, one example after the other"
    return f"no equation of {op_name(each.node)} is known: {how}"


def at_nominal(network: Network, lengths: Lengths) -> Network:
    """Members of a unit counted as the nominal number, lengths as the usual ones."""

    def nominal(x: Letter) -> Letter:
        return replace(x, extent=NOMINAL_UNIT if x == MEMBER else usual(x.extent, lengths))

    def counted(entry: tuple[Letter, ...] | Affine) -> tuple[Letter, ...] | Affine:
        if isinstance(entry, Affine):
            return replace(entry, terms=tuple((k, nominal(x)) for k, x in entry.terms))
        return tuple(map(nominal, entry))

    factors = (replace(f, index=tuple(map(counted, f.index))) for f in network.factors)
    output = tuple(map(nominal, network.output))
    return replace(network, factors=tuple(factors), output=output)


def usual(extent: Any, lengths: Lengths) -> Any:
    """An extent with the usual lengths in place of their letters."""
    return extent.subs(lengths) if isinstance(extent, sympy.Expr) else extent


def compared(best: Choice, network: Network, lengths: Lengths) -> str:
    """S·O·I = 1.6 M < S²(O+I) = 2.25 M"""
    s, o, i = sizes(network)
    square, tree = best.terms[0].square, best.trees[0]
    windows = [square.windows(step) for step in square.steps(tree) if step.from_pixels]
    if windows:
        pixels, offsets = int(windows[0].pixels), int(windows[0].offsets)
        affine, other = (i, o) if network.factors[1].is_affine else (o, i)
        paid = amount_of(pixels**2 * affine // offsets + s * s * (offsets + other))
        return f"P²C + S²(K+O) = {paid} from P pixels < S·O·I = {amount_of(s * o * i)}"
    instantiate, gram = f"S·O·I = {amount_of(s * o * i)}", f"S²(O+I) = {amount_of(s * s * (o + i))}"
    if best.kernel and best.order is Order.DISCARD:
        return f"{instantiate} by a kernel, which writes no g, {gram}"
    if tree.tile is not None:
        half = float(usual(square.computed(tree), lengths)) * s * s * (o + i)
        how = "by a kernel, which writes no Gram," if best.kernel else f"in tiles of {tree.tile}"
        share = f"{half / (s * s * (o + i)):.2g} ".removeprefix("1 ")
        return f"{share}S²(O+I) = {amount_of(half)} {how} < {instantiate}"
    if best.order is Order.GRAM:
        return f"{gram} < {instantiate}"
    if s * o * i <= s * s * (o + i):
        return f"{instantiate} < {gram}"
    return f"{instantiate}, {gram}: but the kept g gives the clipped sum"


def sizes(network: Network) -> tuple[int, int, int]:
    """The extents of the positions, of the letters of ȳ alone, and of those of x alone."""
    first, second = (set(f.letters) - f.determined for f in network.factors)
    positions = [x for x in network.summed if not x.examples]
    return product(positions), product(first - second - set(positions)), product(second - first - set(positions))


def product(letters: list[Letter] | set[Letter]) -> int:
    """The number of elements over some letters."""
    return math.prod(int(x.extent) for x in letters if not x.examples)
