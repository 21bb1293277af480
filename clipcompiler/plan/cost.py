"""What an order costs: flops, bytes and calls, as polynomials in N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.algebra import Cross, Network, Pair, Square, extent
from clipcompiler.derive.by_unit import MEMBERS, UNITS
from clipcompiler.plan.machine import NOMINAL_UNIT, Machine
from clipcompiler.trace.traced import N

#: Bytes an element. Plans are made as for float32, so that the program is the same in every dtype.
ITEMSIZE = 4

__all__ = ["ITEMSIZE", "Cost", "book_keeping", "cost_by_row", "cost_of_cross", "cost_of_tree", "kept_sum"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Flops, bytes and the number of ops, as expressions in N and in lengths; flops by kernels of ours are apart."""

    flops: Any = 0
    bytes: Any = 0
    calls: Any = 0
    fused: Any = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.calls + other.calls,
            self.fused + other.fused,
        )

    @property
    def products(self) -> Any:
        """All flops, those by kernels among them."""
        return self.flops + self.fused

    def seconds(self, machine: Machine) -> float:
        """The predicted time of the examples that a machine runs at a time, in units of the nominal size."""
        units = max(1, machine.examples // NOMINAL_UNIT)
        at = {N: machine.examples, UNITS: units, MEMBERS: NOMINAL_UNIT, **machine.lengths}
        flops, moved, calls, fused = (
            float(sympy.sympify(x).subs(at)) for x in (self.flops, self.bytes, self.calls, self.fused)
        )
        return machine.seconds(flops, moved, calls, fused)


def cost_of_tree(square: Square, tree: Pair) -> Cost:
    """The norm by one order: intermediates are written and read, affine operands first laid out as patches.

    The patches of an instantiated convolution stay in the cache; those of a Gram are written out and read. A Gram from
    pixels has none.
    """
    steps = square.steps(tree)
    if isinstance(tree, Pair) and tree.tile is not None:
        return cost_of_tiles(square, tree)
    moved = 2 * square.elements(tree)
    direct = {leaf for s in steps if square.is_gradient(s) and square.count == 2 for leaf in s.leaves}
    pixels = [s for s in steps if s.from_pixels]
    for windows in (square.windows(s) for s in pixels):
        moved += 2 * windows.pixels**2 * extent(windows.batch)
    unfolded = {leaf for s in pixels for leaf in s.leaves}
    for leaf in square.leaves[: square.count]:
        factor = square.gradient.factors[leaf.factor]
        if factor.is_affine and not leaf.leaves <= unfolded:
            moved += (1 if leaf.leaves <= direct else 2) * extent(leaf.letters | leaf.own)
    return Cost(square.flops(tree), moved * ITEMSIZE, len(steps))


def cost_of_tiles(square: Square, tree: Pair) -> Cost:
    """The Grams by tiles: none is written out, and each factor is read once for every tile of the other side."""
    positions = sympy.prod([x.extent for x in square.positions])
    tiles = sympy.ceiling(positions / sympy.Integer(tree.tile))
    read = sum(extent(leaf.letters | leaf.own) for leaf in square.leaves[: square.count])
    pairs = tiles * (tiles + 1) / 2
    return Cost(square.flops(tree), read * (tiles + 1) * ITEMSIZE, 6 * pairs)


def cost_by_row(network: Network) -> Cost:
    """Σ_v ‖Σ_s δ[s,v] ȳ[s]‖²: the rows of ȳ added where they belong to one row, as many as there are positions."""
    size = extent(frozenset(network.factors[0].letters))
    return Cost(3 * size, 5 * size * ITEMSIZE, 10)


def cost_of_cross(cross: Cross) -> Cost:
    """2⟨g_a, g_b⟩ by pairs of factors."""
    return Cost(cross.flops, 2 * cross.elements * ITEMSIZE, len(cross.pairs) + 2)


def book_keeping(network: Network) -> Cost:
    """Σ_n c_n g[n] from the cotangent, scaled, and the other factors: an ordinary weight gradient."""
    letters = frozenset(network.letters) - network.determined
    scaled = extent(frozenset(network.factors[0].letters))
    flops = 2 * extent(letters) if len(network.factors) > 1 else extent(letters)
    return Cost(flops + scaled, 2 * scaled * ITEMSIZE, 2)


def kept_sum(network: Network) -> Cost:
    """Σ_n c_n g[n] from the gradients kept: they are read once."""
    size = extent(frozenset(network.output))
    return Cost(2 * size, size * ITEMSIZE, 1)
