"""Derived → Plan: for every parameter the order of the least predicted time."""

from __future__ import annotations

from dataclasses import replace

import sympy
from torch import fx

from clipcompiler.clipping import Clipping, Flat
from clipcompiler.derive.by_unit import UNITS
from clipcompiler.derive.complex_values import shape_by_parts
from clipcompiler.derive.derived import Derived
from clipcompiler.plan.candidates import candidates, folded
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import ITEMSIZE, Cost, book_keeping
from clipcompiler.plan.machine import Machine
from clipcompiler.plan.ordinary import ordinary_flops
from clipcompiler.plan.plan import Plan
from clipcompiler.plan.reason import reason
from clipcompiler.trace.traced import N

__all__ = ["plan"]


def plan(derived: Derived, machine: Machine | None = None, clipping: Clipping | None = None) -> Plan:
    """Chooses an order for every parameter; folds biases into the Grams of their weights where that is free.

    Parameters that are clipped apart share nothing.

    Raises:
        ValueError: where ``clipping`` leaves a parameter without a group.
    """
    machine, clipping = machine or Machine(), clipping or Flat()
    functions = derived.functions
    chosen: dict[fx.Node, Choice] = {}
    for source, terms in derived.terms.items():
        ways = candidates(source, name_of(derived, source), terms)
        if source in functions.values:
            chosen[source] = instantiated(ways, Order.FUNCTION, "the chain rule to its parameters needs g[n] itself")
        elif source not in functions.parameters:
            chosen[source] = cheapest(ways, machine)
    for source in functions.parameters:
        chosen[source] = pulled_back(derived, source)
    groups = clipping.groups([p.name for p in derived.axes.traced.parameters.values() if p.trainable])
    group_of = {name: group for group in groups for name in group.parameters}
    for source, choice in chosen.items():
        together = [h for h in chosen.values() if group_of.get(h.name) is group_of.get(choice.name)]
        host = next((h for h in together if h.source is not source and folded(h, choice)), None)
        if host is not None and choice.order not in (Order.FUNCTION, Order.PULLED):
            chosen[source] = folded_into(host, choice)
    return Plan(derived, tuple(chosen.values()), ordinary_flops(derived.axes), clipping, groups)


def folded_into(host: Choice, bias: Choice) -> Choice:
    """A bias whose square is read off the Gram of its weight."""
    free = Cost(sympy.Integer(0), sympy.Integer(0), 0)
    paid = book_keeping(bias.terms[0].network)
    why = f"the {'Gram' if host.order is Order.GRAM else 'square'} of ȳ is at hand from {host.name}"
    return replace(bias, order=Order.FOLDED, norm=free, sum=paid, why=why, host=host.source)


def name_of(derived: Derived, source: fx.Node) -> str:
    """A parameter's name, or the name of a value computed from parameters."""
    parameter = derived.axes.traced.parameter(source)
    return parameter.name if parameter else source.name


def cheapest(ways: list[Choice], machine: Machine) -> Choice:
    """The way of the least predicted time, with the reason."""
    best = min(ways, key=lambda way: way.seconds(machine))
    return replace(best, why=reason(best))


def instantiated(ways: list[Choice], order: Order, why: str) -> Choice:
    """The way that forms the per-example gradient and keeps it."""
    return replace(next(w for w in ways if w.order is Order.KEEP), order=order, why=why)


def pulled_back(derived: Derived, source: fx.Node) -> Choice:
    """A parameter behind a function: the gradients of the function's values, through its vjp, example by example."""
    name, terms = name_of(derived, source), derived.terms.get(source, ())
    values = ", ".join(v.name for v in derived.functions.values if source in derived.axes.trainable[v])
    why = f"the chain rule from {values}, vmapped over examples"
    if terms:
        ways = candidates(source, name, terms)
        return instantiated(ways, Order.PULLED, why + ", plus its direct uses")
    size = (UNITS if derived.by_unit else N) * sympy.prod(list(shape_by_parts(source)))
    moved = size * ITEMSIZE
    return Choice(source, name, Order.PULLED, (), (), Cost(2 * size, moved, 2), Cost(2 * size, moved, 1), why)
