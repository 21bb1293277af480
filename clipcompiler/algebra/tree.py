"""An order of summing a product of factors: a tree of products of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra.network import Letter

__all__ = ["Leaf", "Pair", "Tree", "Windows", "extent"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One factor, summed at once over the letters that nothing else has.

    Attributes:
        factor: its place among the factors of the gradient.
        leaves: its number, and nothing else; the second copy counts on from the first.
        letters: the letters left.
        own: the letters summed over at once.
        determined: the letter that an indicator's others determine.
    """

    factor: int
    leaves: frozenset[int]
    letters: frozenset[Letter]
    own: frozenset[Letter] = frozenset()
    determined: frozenset[Letter] = frozenset()


@dataclass(frozen=True, slots=True)
class Pair:
    """The product of two trees, summed over the letters that nothing outside has.

    Attributes:
        left: the one.
        right: the other.
        leaves: the numbers of all factors inside.
        letters: the letters left.
        from_pixels: whether the Gram of a factor read at affine places is summed place by place first:
            K[u,u'] = Σ_k P[u+k, u'+k] with P[t,t'] = Σ_c x[c,t] x[c,t'].
        tile: of a product of two Grams, how many positions it takes at a time along each side; ``None`` for all. Of two
            tiles that mirror each other one is computed.
    """

    left: Leaf | Pair
    right: Leaf | Pair
    leaves: frozenset[int]
    letters: frozenset[Letter]
    from_pixels: bool = False
    tile: int | None = None

    @property
    def joined(self) -> frozenset[Letter]:
        """The letters of the product before it is summed."""
        return self.left.letters | self.right.letters

    @property
    def multiplied(self) -> frozenset[Letter]:
        """The letters over which elements are multiplied: an indicator has one element that counts."""
        sides = [s for s in (self.left, self.right) if isinstance(s, Leaf)]
        return self.joined - {x for s in sides for x in s.determined}


Tree = Leaf | Pair


@dataclass(frozen=True, slots=True)
class Windows:
    """A Gram from pixels by its extents.

    Attributes:
        pixels: the number of places that windows reach.
        offsets: the number of offsets within a window.
        channels: the letters summed over at each place.
        batch: the letters that are kept beside the places.
    """

    pixels: Any
    offsets: Any
    channels: frozenset[Letter]
    batch: frozenset[Letter]


def extent(letters: frozenset[Letter]) -> Any:
    """The number of elements over some letters."""
    return sympy.prod([x.extent for x in sorted(letters, key=str)])
