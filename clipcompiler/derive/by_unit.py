"""g[n] → g[unit] = Σ_member g[unit·member]: units of unequal size, their examples side by side.

An example's unit is known at call time alone. The gradient of a unit is the same network with one more
position, the member, summed: every contraction order of it is one for units.
"""

from __future__ import annotations

from dataclasses import replace

import sympy

from clipcompiler.algebra import Affine, Factor, Index, Letter, Network
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Derived
from clipcompiler.derive.references import Elementwise, Indicator

__all__ = ["MEMBER", "MEMBERS", "UNIT", "UNITS", "by_unit"]

#: The number of units of a batch, and of examples in the largest of them.
UNITS = sympy.Symbol("units", integer=True, nonnegative=True)
MEMBERS = sympy.Symbol("members", integer=True, nonnegative=True)
UNIT = Letter("unit", UNITS, examples=True)
MEMBER = Letter("member", MEMBERS)


def by_unit(derived: Derived) -> Derived:
    """The same gradients, with norms for units of examples."""
    terms = {
        source: tuple(replace(term, unit=of_units(term.network)) for term in own)
        for source, own in derived.terms.items()
    }
    return replace(derived, terms=terms, by_unit=True)


def of_units(network: Network) -> Network:
    """Σ_member of a network."""
    output = tuple(UNIT if letter == EXAMPLE else letter for letter in network.output)
    return Network(output, tuple(map(factor_of_units, network.factors)), network.coefficient)


def factor_of_units(factor: Factor) -> Factor:
    """An access with n as unit·member."""
    tensor, reference = factor.tensor, factor.tensor.reference
    if isinstance(reference, Elementwise):
        reads = tuple((symbol, factor_of_units(read)) for symbol, read in reference.reads)
        tensor = replace(tensor, reference=replace(reference, reads=reads))
    if isinstance(reference, Indicator):
        tensor = replace(tensor, reference=replace(reference, places=factor_of_units(reference.places)))
    return Factor(tensor, tuple(map(split, factor.index)))


def split(entry: Index) -> Index:
    """n → unit·member within one dim."""
    if isinstance(entry, Affine):
        return entry
    return tuple(x for letter in entry for x in ((UNIT, MEMBER) if letter == EXAMPLE else (letter,)))
