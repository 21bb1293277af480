"""⟨g_a, g_b⟩ = Σ (Π factors of a)(Π factors of b): the cross term of two networks of one gradient.

‖g_a + g_b‖² = ‖g_a‖² + ‖g_b‖² + 2⟨g_a, g_b⟩. Where each factor of a shares its letters of the parameter with one
factor of b, their products over those letters leave positions alone, and no gradient is formed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra.network import Letter, Network
from clipcompiler.algebra.tree import extent

__all__ = ["Cross", "cross"]


@dataclass(frozen=True, slots=True)
class Cross:
    """⟨g_a, g_b⟩ by pairs of factors.

    Attributes:
        first: the network a.
        second: the network b, in its own letters.
        renamed: for each letter of b the letter of a that it is, or a primed one.
        pairs: for each factor of a the factor of b that it is multiplied with.
    """

    first: Network
    second: Network
    renamed: tuple[tuple[Letter, Letter], ...]
    pairs: tuple[int, ...]

    @property
    def names(self) -> Mapping[Letter, Letter]:
        """The letters of b as those of a."""
        return dict(self.renamed)

    @property
    def positions(self) -> tuple[Letter, ...]:
        """The summed letters of both."""
        return (*self.first.summed, *(self.names[x] for x in self.second.summed))

    def multiplied(self, k: int) -> frozenset[Letter]:
        """The letters over which factor k of a and its mate are multiplied."""
        a, b = self.first.factors[k], self.second.factors[self.pairs[k]]
        letters = {*a.letters, *(self.names[x] for x in b.letters)}
        return frozenset(letters - a.determined - {self.names[x] for x in b.determined})

    def left(self, k: int) -> frozenset[Letter]:
        """The letters that the product of factor k and its mate keeps."""
        kept = {self.first.output[0], *self.positions}
        a, b = self.first.factors[k], self.second.factors[self.pairs[k]]
        return frozenset({*a.letters, *(self.names[x] for x in b.letters)} & kept)

    @property
    def flops(self) -> Any:
        """Two for every product."""
        products = [extent(self.multiplied(k)) for k in range(len(self.pairs))]
        return 2 * (sum(products, sympy.Integer(0)) + extent(frozenset({self.first.output[0], *self.positions})))

    @property
    def elements(self) -> Any:
        """The elements of every intermediate."""
        return sum((extent(self.left(k)) for k in range(len(self.pairs))), sympy.Integer(0))


def cross(first: Network, second: Network) -> Cross | None:
    """The cross term of two networks; ``None`` where their factors do not pair."""
    shapes = [[x.extent for x in network.output] for network in (first, second)]
    if shapes[0] != shapes[1] or len(first.factors) != len(second.factors):
        return None
    renamed = dict(zip(second.output, first.output, strict=True))
    renamed |= {x: Letter(f"{x.name}'", x.extent) for x in second.summed}
    mine = shares(first, {x: x for x in first.letters})
    theirs = shares(second, renamed)
    if mine is None or theirs is None or set(mine) != set(theirs):
        return None
    return Cross(first, second, tuple(renamed.items()), tuple(theirs.index(letters) for letters in mine))


def shares(network: Network, names: Mapping[Letter, Letter]) -> list[frozenset[Letter]] | None:
    """The letters of the parameter that each factor has; ``None`` where one is in no factor alone."""
    own = [frozenset(names[x] for x in network.output[1:] if x in f.letters) for f in network.factors]
    apart = sum(map(len, own)) == len(network.output) - 1 and all(own)
    return own if apart and not any(f.is_affine for f in network.factors) else None
