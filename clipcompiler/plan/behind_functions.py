"""Parameters behind functions: which are pulled back example by example, and which after the sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy
from torch import fx

from clipcompiler.clipping import Group
from clipcompiler.derive.by_unit import UNITS
from clipcompiler.derive.complex_values import shape_by_parts
from clipcompiler.derive.derived import Derived, ReadOnce, Term
from clipcompiler.plan.candidates import instantiated
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import ITEMSIZE, Cost
from clipcompiler.trace.traced import N, shape_of

__all__ = ["clipped_together", "kept", "name_of", "parameters_of", "pulled_back", "summed_first"]


def clipped_together(derived: Derived, group_of: Mapping[str, Group]) -> tuple[ReadOnce, ...]:
    """Those sets of parameters, every element read at most once, of which all are in one group."""
    return tuple(
        own
        for own in derived.functions.read_once
        if len({id(group_of[name_of(derived, p)]) for p in own.parameters}) == 1
    )


def name_of(derived: Derived, source: fx.Node) -> str:
    """A parameter's name, or the name of a value computed from parameters."""
    parameter = derived.axes.traced.parameter(source)
    return parameter.name if parameter else source.name


def parameters_of(derived: Derived, value: fx.Node) -> tuple[str, ...]:
    """The names of the parameters that a value is computed from."""
    own = derived.axes.trainable[value]
    return tuple(name_of(derived, p) for p in derived.functions.parameters if p in own)


def kept(source: fx.Node, name: str, terms: tuple[Term, ...], order: Order, why: str) -> Choice:
    """The way that forms the per-example gradient and keeps it."""
    return replace(next(w for w in instantiated(source, name, terms) if w.order is Order.KEEP), order=order, why=why)


def summed_first(derived: Derived, source: fx.Node) -> Choice:
    """A parameter that its values hold once: norms from theirs, the clipped sum by one vjp of their clipped sums."""
    values = values_of(derived, source)
    why = f"every element is in {' or '.join(values)} at most once: their norms are its norm"
    size = sympy.prod(list(shape_of(source)))
    return Choice(
        source, name_of(derived, source), Order.READ_ONCE, (), (), Cost(), Cost(0, 2 * size * ITEMSIZE, 1), why
    )


def pulled_back(derived: Derived, source: fx.Node) -> Choice:
    """A parameter behind a function: the gradients of the function's values, through its vjp, example by example."""
    name, terms = name_of(derived, source), derived.terms.get(source, ())
    why = f"the chain rule from {', '.join(values_of(derived, source))}, vmapped over examples"
    if terms:
        return kept(source, name, terms, Order.PULLED, why + ", plus its direct uses")
    size = (UNITS if derived.by_unit else N) * sympy.prod(list(shape_by_parts(source)))
    moved = size * ITEMSIZE
    return Choice(source, name, Order.PULLED, (), (), Cost(2 * size, moved, 2), Cost(2 * size, moved, 1), why)


def values_of(derived: Derived, source: fx.Node) -> list[str]:
    """The values that are computed from a parameter, by name."""
    return [v.name for v in derived.functions.values if source in derived.axes.trainable[v]]
