"""Derived → Plan: for every parameter the order of the least predicted time."""

from __future__ import annotations

from dataclasses import replace

import sympy
from torch import fx

from clipcompiler.clipping import Clipping, Flat
from clipcompiler.derive.derived import Derived
from clipcompiler.plan.behind_functions import (
    clipped_together,
    kept,
    name_of,
    parameters_of,
    pulled_back,
    summed_first,
)
from clipcompiler.plan.candidates import candidates, folded
from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.cost import Cost, book_keeping
from clipcompiler.plan.machine import Machine
from clipcompiler.plan.ordinary import ordinary_flops
from clipcompiler.plan.plan import Plan
from clipcompiler.plan.reason import reason

__all__ = ["plan"]

EACH = "the chain rule to its parameters needs g[n] itself"


def plan(derived: Derived, machine: Machine | None = None, clipping: Clipping | None = None) -> Plan:
    """Chooses an order for every parameter; folds biases into the Grams of their weights where that is free.

    Parameters that are clipped apart share nothing.

    Raises:
        ValueError: where ``clipping`` leaves a parameter without a group.
    """
    machine, clipping = machine or Machine(), clipping or Flat()
    functions = derived.functions
    groups = clipping.groups([p.name for p in derived.axes.traced.parameters.values() if p.trainable])
    group_of = {name: group for group in groups for name in group.parameters}
    once = clipped_together(derived, group_of)
    read_once = {source for own in once for source in (*own.parameters, *own.values)}
    chosen: dict[fx.Node, Choice] = {}
    for source, terms in derived.terms.items():
        name = name_of(derived, source)
        if source in functions.values:
            if source in read_once:
                best = cheapest(candidates(source, name, terms), machine)
            else:
                best = kept(source, name, terms, Order.FUNCTION, EACH)
            chosen[source] = replace(best, parameters=parameters_of(derived, source))
        elif source not in functions.parameters:
            chosen[source] = cheapest(candidates(source, name, terms), machine)
    for source in functions.parameters:
        chosen[source] = (summed_first if source in read_once else pulled_back)(derived, source)
    for source, choice in chosen.items():
        together = [h for h in chosen.values() if group_of.get(h.parameter) is group_of.get(choice.parameter)]
        host = next((h for h in together if h.source is not source and folded(h, choice)), None)
        if host is not None and choice.order not in (Order.FUNCTION, Order.PULLED, Order.READ_ONCE):
            chosen[source] = folded_into(host, choice)
    return Plan(derived, tuple(chosen.values()), ordinary_flops(derived.axes), clipping, groups)


def folded_into(host: Choice, bias: Choice) -> Choice:
    """A bias whose square is read off the Gram of its weight."""
    free = Cost(sympy.Integer(0), sympy.Integer(0), 0)
    paid = book_keeping(bias.terms[0].network)
    why = f"the {'Gram' if host.order is Order.GRAM else 'square'} of ȳ is at hand from {host.name}"
    return replace(bias, order=Order.FOLDED, norm=free, sum=paid, why=why, host=host.source)


def cheapest(ways: list[Choice], machine: Machine) -> Choice:
    """The way of the least predicted time, with the reason."""
    best = min(ways, key=lambda way: way.seconds(machine))
    return replace(best, why=reason(best))
