"""ways of a parameter → the same, and those that a kernel computes without writing a Gram or a gradient to memory.

A kernel does the products of the order that it stands for; what is between them stays on the chip. It multiplies at a
share of the rate of the device's own matrix products, which ``Machine.fused`` tells. That factors are read is not
counted, as it is not for other orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from clipcompiler.algebra import convolution, extent
from clipcompiler.derive.derived import Term
from clipcompiler.plan.candidates import is_table
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import Cost

__all__ = ["CONVOLUTION", "EMBEDDING", "GRAM", "INSTANTIATE", "INSTANTIATING", "TILE", "by_kernels"]

#: The ops of ``clipcompiler.kernels``.
GRAM, EMBEDDING = "gram_sqnorm", "embedding_sqnorm"
INSTANTIATING = INSTANTIATE, CONVOLUTION = "instantiate_sqnorm", "convolution_sqnorm"
#: The positions of a tile of a Gram: those beyond the diagonal are computed twice.
TILE = 128


def by_kernels(ways: Sequence[Choice]) -> Iterator[Choice]:
    """Those of some ways that a kernel does, by the kernel."""
    for way in ways:
        if len(way.terms) != 1:
            continue
        term, tree = way.terms[0], way.trees[0]
        if way.order is Order.DISCARD:
            kernel = INSTANTIATE if is_product(term) else CONVOLUTION if is_convolution(term) else ""
            if kernel:
                yield replace(way, kernel=kernel, norm=Cost(calls=1, fused=term.square.flops(tree)))
        elif way.order is Order.GRAM and is_table(term.each):
            yield replace(way, kernel=EMBEDDING, norm=Cost(calls=1, fused=pairs_of_rows(term)))
        elif way.order is Order.GRAM and is_product(term) and tree == term.square.by_factors():
            tiled = term.square.in_tiles(tree, TILE)
            if tiled is not None:
                yield replace(way, kernel=GRAM, trees=(tiled,), norm=Cost(calls=1, fused=term.square.flops(tiled)))


def pairs_of_rows(term: Term) -> Any:
    """The flops of Σ_ss' ȳ_s·ȳ_s' over one side of the diagonal; tiles without a match count too."""
    return extent(term.square.positions) * extent(frozenset(term.each.factors[0].letters))


def is_convolution(term: Term) -> bool:
    """Whether g[n] is the weight gradient of one convolution of example n."""
    windows = convolution(term.each)
    if windows is None or windows.positions or windows.image.index[0] != (windows.example,):
        return False
    letters = (windows.example, *windows.groups, *windows.rows, *windows.columns, *windows.kernel)
    return set(letters) == set(term.each.output)


def is_product(term: Term) -> bool:
    """Whether g[n,o,i] = Σ_s ȳ[n,s,o] x[n,s,i] of plain factors."""
    network, square = term.each, term.square
    plain = len(network.factors) == 2 and not any(f.is_affine or f.tensor.indicates for f in network.factors)
    if not plain or not square.positions:
        return False
    own = [[x for x in f.letters if x not in square.positions and not x.examples] for f in network.factors]
    every = all(square.positions <= set(f.letters) for f in network.factors)
    return every and bool(own[0]) and bool(own[1]) and not set(own[0]) & set(own[1])
