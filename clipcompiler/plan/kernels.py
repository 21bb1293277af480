"""ways of a parameter → the same, and those that a kernel computes without writing a Gram or a gradient to memory.

A kernel does the products of the order that it stands for; what is between them stays on the chip. It multiplies at a
share of the rate of the device's own matrix products, which ``Machine.fused`` tells. That factors are read is not
counted, as it is not for other orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from clipcompiler.algebra import Letter
from clipcompiler.derive.derived import Term
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import Cost

__all__ = ["GRAM", "INSTANTIATE", "TILE", "by_kernels", "matrices_of"]

#: The ops of ``clipcompiler.kernels``.
GRAM, INSTANTIATE = "gram_sqnorm", "instantiate_sqnorm"
#: The positions of a tile of a Gram: those beyond the diagonal are computed twice.
TILE = 128


def by_kernels(ways: Sequence[Choice]) -> Iterator[Choice]:
    """Those of some ways that a kernel does, by the kernel."""
    for way in ways:
        if len(way.terms) != 1 or matrices_of(way.terms[0]) is None:
            continue
        square = way.terms[0].square
        if way.order is Order.DISCARD:
            yield replace(way, kernel=INSTANTIATE, norm=Cost(calls=1, fused=square.flops(way.trees[0])))
        elif way.order is Order.GRAM and way.trees[0] == square.by_factors():
            tiled = square.in_tiles(way.trees[0], TILE)
            if tiled is not None:
                yield replace(way, kernel=GRAM, trees=(tiled,), norm=Cost(calls=1, fused=square.flops(tiled)))


def matrices_of(term: Term) -> tuple[list[Letter], list[list[Letter]]] | None:
    """s, and o and i, where g[n,o,i] = Σ_s ȳ[n,s,o] x[n,s,i] of plain factors; ``None`` where it is another."""
    network, square = term.each, term.square
    plain = len(network.factors) == 2 and not any(f.is_affine or f.tensor.indicates for f in network.factors)
    if not plain or not square.positions:
        return None
    positions = [x for x in network.factors[0].letters if x in square.positions]
    own = [[x for x in f.letters if x not in square.positions and not x.examples] for f in network.factors]
    every = all(square.positions <= set(f.letters) for f in network.factors)
    apart = own[0] and own[1] and not set(own[0]) & set(own[1])
    return (positions, own) if every and apart else None
