"""The orders in which ‖g[n]‖² = Σ (Π factors)(Π factors′) can be summed, two tensors at a time.

The network of a squared norm is two copies of the gradient's, the summed letters of the second primed.
Multiplying out each copy first *instantiates* the per-example gradient; pairing each factor with its own
copy first gives *Gram* matrices over the primed letters. Both are orders of the same sum; half of either is
the mirror image of the other half, and is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import sympy

from clipcompiler.algebra.network import Affine, Factor, Letter, Network
from clipcompiler.algebra.tree import Leaf, Pair, Tree, Windows, extent

__all__ = ["Square"]


@dataclass(frozen=True)
class Square:
    """‖g[n]‖² of a gradient network, and the ways to sum it.

    Attributes:
        gradient: the network of g.
        examples: the letter n, which is not summed.
    """

    gradient: Network
    examples: Letter

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """The factors of both copies."""
        factors = self.gradient.factors
        found: list[Leaf] = []
        for copy in (0, 1):
            for k, factor in enumerate(factors):
                others = {x for j, f in enumerate(factors) if j != k for x in f.letters}
                own = {x for x in factor.letters if x in self.positions and x not in others}
                kept = (x.primed() if copy and x in self.positions else x for x in factor.letters if x not in own)
                number = frozenset([k + copy * len(factors)])
                found.append(Leaf(k, number, frozenset(kept), frozenset(own), factor.determined))
        return tuple(found)

    @cached_property
    def positions(self) -> frozenset[Letter]:
        """The summed letters of the gradient, which the second copy primes."""
        return frozenset(x for x in self.gradient.summed if x != self.examples)

    @property
    def count(self) -> int:
        """The number of factors of one copy."""
        return len(self.gradient.factors)

    def mirrored(self, leaves: frozenset[int]) -> frozenset[int]:
        """The same factors of the other copy."""
        return frozenset((k + self.count) % (2 * self.count) for k in leaves)

    def is_square(self, pair: Pair) -> bool:
        """Whether both sides of a product are one tensor, read by the same letters."""
        primed = self.positions | {x.primed() for x in self.positions}
        return self.mirrored(pair.left.leaves) == pair.right.leaves and not pair.left.letters & primed

    def is_gram(self, pair: Pair) -> bool:
        """Whether a product is that of one factor with its own copy."""
        return len(pair.leaves) == 2 and self.mirrored(pair.leaves) == pair.leaves

    def is_gradient(self, tree: Tree) -> bool:
        """Whether a tree is one whole copy: the per-example gradient."""
        return sorted(tree.leaves) in ([*range(self.count)], [*range(self.count, 2 * self.count)])

    def orders(self) -> list[Pair]:
        """Every pairwise order, mirror images left out; of many factors, or an indicator, the two of the head line."""
        if self.count > 2 or self.gradient.determined:
            return [self.by_copies(), self.by_factors()]
        found: dict[frozenset[Any], Pair] = {}
        for tree in self._trees(frozenset(range(2 * self.count))):
            if isinstance(tree, Pair):
                found.setdefault(frozenset(self.key(s) for s in self.steps(tree)), tree)
        return list(found.values())

    def steps(self, tree: Tree) -> list[Pair]:
        """The products of a tree, innermost first; of a product and its mirror image only the first."""
        found: dict[Any, Pair] = {}

        def visit(t: Tree) -> None:
            if isinstance(t, Pair) and self.key(t) not in found:
                visit(t.left)
                visit(t.right)
                found[self.key(t)] = t

        visit(tree)
        return list(found.values())

    def key(self, tree: Tree) -> tuple[int, ...]:
        """The same for a tree and its mirror image."""
        return min(tuple(sorted(tree.leaves)), tuple(sorted(self.mirrored(tree.leaves))))

    def flops(self, tree: Tree) -> Any:
        """Multiplications and additions: two for every element of every product before it is summed."""
        own = {x.factor: extent(x.letters | x.own) for x in self.leaves if x.own}
        products = sum((self.flops_of_step(s) for s in self.steps(tree)), sympy.Integer(0))
        return products * self.computed(tree) + sum(own.values(), sympy.Integer(0))

    def computed(self, tree: Tree) -> Any:
        """The share of the pairs of positions that are computed: of T × T tiles the T (T + 1) / 2 on one side."""
        if isinstance(tree, Leaf) or tree.tile is None:
            return sympy.Integer(1)
        tiles = sympy.ceiling(extent(self.positions) / sympy.Integer(tree.tile))
        return (tiles + 1) / (2 * tiles)

    def in_tiles(self, tree: Pair, tile: int) -> Pair | None:
        """The same order, a product of two Grams of plain factors, a tile of positions at a time; if it is one."""
        factors = self.gradient.factors
        plain = self.count == 2 and not any(f.is_affine or f.tensor.indicates for f in factors)
        grams = all(isinstance(s, Pair) and self.is_gram(s) for s in (tree.left, tree.right))
        every = all(self.positions <= set(f.letters) for f in factors)
        return replace(tree, tile=tile) if plain and grams and every and self.positions else None

    def flops_of_step(self, step: Pair) -> Any:
        """Those of one product; of a Gram of pixels, and of the windows of it that are added, one for each offset."""
        if not step.from_pixels:
            return 2 * extent(step.multiplied)
        windows = self.windows(step)
        return 2 * windows.pixels**2 * extent(windows.channels | windows.batch) + windows.offsets * extent(step.letters)

    def windows(self, step: Pair) -> Windows:
        """What a Gram from pixels sums over."""
        factor = self.gradient.factors[min(step.leaves)]
        places = [e for e in factor.index if isinstance(e, Affine)]
        plain = frozenset(x for e in factor.index if not isinstance(e, Affine) for x in e)
        pixels = sympy.prod([sum(pace * (x.extent - 1) for pace, x in e.terms) + 1 for e in places])
        offsets = sympy.prod([e.terms[1][1].extent for e in places])
        return Windows(pixels, offsets, plain - step.letters, plain & step.letters)

    def from_pixels(self, tree: Pair) -> Pair | None:
        """The same order, the Grams of factors that are read at affine places summed from pixels; if there is one.

        It takes places u and offsets k along each affine dim, of which the other factors have the places alone.
        """
        if self.is_gram(tree):
            factor = self.gradient.factors[min(tree.leaves)]
            return replace(tree, from_pixels=True) if self.has_windows(factor) else None
        sides = [self.from_pixels(s) if isinstance(s, Pair) else None for s in (tree.left, tree.right)]
        if sides == [None, None]:
            return None
        return replace(tree, left=sides[0] or tree.left, right=sides[1] or tree.right)

    def has_windows(self, factor: Factor) -> bool:
        """Whether the offsets of an affine factor are its own, and its places are all its positions."""
        places = [e for e in factor.index if isinstance(e, Affine)]
        if not places or any(len(e.terms) != 2 for e in places):
            return False
        others = {x for f in self.gradient.factors if f is not factor for x in f.letters}
        offsets, at = ([e.terms[k][1] for e in places] for k in (1, 0))
        along = {x for e in factor.index if not isinstance(e, Affine) for x in e}
        return not others & set(offsets) and set(at) <= self.positions and not along & self.positions & others

    def elements(self, tree: Tree) -> Any:
        """The elements of every intermediate, written once and read once."""
        return sum((extent(s.letters) for s in self.steps(tree)), sympy.Integer(0))

    def by_copies(self) -> Pair:
        """(Π factors)(Π factors′): the gradient first."""
        left = self._chain(range(self.count))
        right = self._chain(range(self.count, 2 * self.count))
        return self.join(left, right)

    def by_factors(self) -> Pair:
        """Π (factor factor′): the Grams first."""
        tree: Tree = self.join(self.leaves[0], self.leaves[self.count])
        for k in range(1, self.count):
            tree = self.join(tree, self.join(self.leaves[k], self.leaves[k + self.count]))
        assert isinstance(tree, Pair)
        return tree

    def _chain(self, places: range) -> Tree:
        tree: Tree = self.leaves[places[0]]
        for k in places[1:]:
            tree = self.join(tree, self.leaves[k])
        return tree

    def join(self, left: Tree, right: Tree) -> Pair:
        """The product of two trees."""
        leaves = left.leaves | right.leaves
        outside = {x for leaf in self.leaves if not leaf.leaves <= leaves for x in leaf.letters} | {self.examples}
        return Pair(left, right, leaves, (left.letters | right.letters) & outside)

    def _trees(self, all_leaves: frozenset[int]) -> tuple[Tree, ...]:
        @cache
        def trees(inside: frozenset[int]) -> tuple[Tree, ...]:
            if len(inside) == 1:
                return (self.leaves[min(inside)],)
            return tuple(self.join(a, b) for part in parts(inside) for a in trees(part) for b in trees(inside - part))

        return trees(all_leaves)


def parts(whole: frozenset[int]) -> Iterator[frozenset[int]]:
    """The proper parts of a set that hold its lowest element."""
    lowest, *rest = sorted(whole)
    for mask in range(2 ** len(rest) - 1):
        yield frozenset([lowest, *(x for k, x in enumerate(rest) if mask >> k & 1)])
