"""Orders of single parameters → orders of parameters that read one tensor: its Gram is paid once.

The weights of a recurrent layer have one ȳ, those of queries, keys and values one x. What is dearer for each of them
alone can be cheaper for all together: Σ_p S²(O_p + I_p) counts the Gram of what they share once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import fx

from clipcompiler.algebra import Factor, Pair, extent
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import ITEMSIZE, Cost
from clipcompiler.plan.kernels import GRAM
from clipcompiler.plan.machine import Machine

__all__ = ["share_grams"]

#: Of the ways of a parameter, those whose Grams several can share.
Family = Callable[[list[Choice]], list[Choice]]


def share_grams(
    chosen: Mapping[fx.Node, Choice], ways: Mapping[fx.Node, list[Choice]], machine: Machine
) -> dict[fx.Node, Choice]:
    """The choices, those of each set of parameters with a factor in common replaced where that is cheaper.

    Grams that are written out share either factor; of those by a kernel one launch has one x.
    """
    found = dict(chosen)
    for family, factors in ((written_out, slice(None)), (by_a_kernel, slice(1, 2))):
        for factor, sources in in_common(found, ways, family, factors):
            grams = {s: min(family(ways[s]), key=lambda way: way.seconds(machine)) for s in sources}
            together = sum(gram.seconds(machine) for gram in grams.values())
            together -= (len(sources) - 1) * gram_of(factor, next(iter(grams.values()))).seconds(machine)
            apart = sum(found[s].seconds(machine) for s in sources)
            if together < apart and not all(found[s].order is Order.GRAM and family([found[s]]) for s in sources):
                names = " and ".join(found[s].name for s in sources)
                why = f"one Gram of {factor.tensor.symbol} serves {names}"
                found |= {s: replace(gram, why=why, parameters=found[s].parameters) for s, gram in grams.items()}
    return found


def in_common(
    chosen: Mapping[fx.Node, Choice], ways: Mapping[fx.Node, list[Choice]], family: Family, factors: slice
) -> list[tuple[Factor, list[fx.Node]]]:
    """The factors that several parameters have, and the parameters."""
    found: list[tuple[Factor, list[fx.Node]]] = []
    for source, choice in chosen.items():
        if len(choice.terms) != 1 or not family(ways.get(source, [])):
            continue
        for factor in choice.terms[0].each.factors[factors]:
            same = next((sources for known, sources in found if known == factor), None)
            if same is None:
                found.append((factor, [source]))
            else:
                same.append(source)
    return [(factor, sources) for factor, sources in found if len(sources) > 1]


def written_out(ways: list[Choice]) -> list[Choice]:
    """Those that multiply the Gram of one factor by that of another."""
    return [way for way in ways if way.order is Order.GRAM and len(way.terms[0].each.factors) == 2 and of_two(way)]


def by_a_kernel(ways: list[Choice]) -> list[Choice]:
    """Those whose two Grams a kernel multiplies as it makes them."""
    return [way for way in ways if way.kernel == GRAM]


def of_two(way: Choice) -> bool:
    """Whether the last product is that of two Grams."""
    square, tree = way.terms[0].square, way.trees[0]
    return tree.tile is None and all(
        isinstance(side, Pair) and square.is_gram(side) for side in (tree.left, tree.right)
    )


def gram_of(factor: Factor, way: Choice) -> Cost:
    """The price of the Gram of one factor within a way."""
    square, tree = way.terms[0].square, way.trees[0]
    for step in square.steps(tree):
        if square.is_gram(step) and square.gradient.factors[min(step.leaves)] == factor:
            flops = square.flops_of_step(step)
            if way.kernel:
                return Cost(calls=1, fused=flops * square.computed(tree))
            return Cost(flops, 2 * extent(step.letters) * ITEMSIZE, 1)
    return Cost()
