"""Σ_u Σ_s ȳ_u[s] x_u[s] → Σ_s ȳ[s] x[s]: uses of one equation, their positions one after another.

A layer that is called U times costs one product of U·S positions, not U² cross terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sympy

from clipcompiler.algebra import Factor, Letter, Network, Tensor
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Term
from clipcompiler.derive.references import EachOfOp, Indicator, Stack

__all__ = ["stacked"]


def stacked(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The terms of one parameter, those of one equation as a single term."""
    alike: dict[Any, list[Term]] = {}
    for k, term in enumerate(terms):
        alike.setdefault(signature(term.network) or k, []).append(term)
    return tuple(group[0] if len(group) == 1 else as_one(group) for group in alike.values())


def signature(network: Network) -> Any:
    """The same for networks that can be stacked: the letters of the parameter in each factor. ``None`` for no network.

    Every factor must have n and all positions, each as a dim or part of a dim: patches of an image are no rows.
    """
    shapes = []
    for factor in network.factors:
        of_op = isinstance(factor.tensor.reference, EachOfOp)
        if of_op or factor.is_affine or not {EXAMPLE, *network.summed} <= set(factor.letters):
            return None
        own = tuple((network.output.index(x), x.extent) for x in network.output if x in factor.letters)
        reference = factor.tensor.reference
        rows = (reference.skipped, reference.wraps) if isinstance(reference, Indicator) else ()
        shapes.append((own, factor.tensor.indicates, rows))
    return (network.coefficient, tuple(shapes))


def as_one(terms: Sequence[Term]) -> Term:
    """One term over the positions of all."""
    networks = [term.network for term in terms]
    first = networks[0]
    counts = tuple(sympy.prod([x.extent for x in network.summed]) for network in networks)
    taken = {x.name for x in first.output}
    place = Letter(next(name for name in ("s", "u", "r", "s_") if name not in taken), sum(counts))
    factors = tuple(stack(networks, k, place, counts) for k in range(len(first.factors)))
    return replace(
        terms[0],
        uses=tuple(use for term in terms for use in term.uses),
        taps=tuple(tap for term in terms for tap in term.taps),
        network=Network(first.output, factors, first.coefficient),
    )


def stack(networks: Sequence[Network], k: int, place: Letter, counts: tuple[Any, ...]) -> Factor:
    """Factor k of every network → one tensor [n, s, letters of the parameter]."""
    factor = networks[0].factors[k]
    own = [(x,) for x in networks[0].output[1:] if x in factor.letters]
    reference = factor.tensor.reference
    if not isinstance(reference, Indicator):
        parts = tuple(network.factors[k] for network in networks)
        letters = tuple(order(network, part) for network, part in zip(networks, parts, strict=True))
        return Factor(
            Tensor(factor.tensor.symbol, Stack(parts, letters, counts, len(own))), ((EXAMPLE,), (place,), *own)
        )
    parts = tuple(network.factors[k].tensor.reference.places for network in networks)
    letters = tuple(order(network, part) for network, part in zip(networks, parts, strict=True))
    places = Factor(Tensor(reference.places.tensor.symbol, Stack(parts, letters, counts, 0)), ((EXAMPLE,), (place,)))
    return Factor(replace(factor.tensor, reference=replace(reference, places=places)), (*places.index, *own))


def order(network: Network, factor: Factor) -> tuple[Letter, ...]:
    """n, the positions, and the letters of the parameter: the order in which a part is laid out."""
    return (EXAMPLE, *network.summed, *(x for x in network.output[1:] if x in factor.letters))
