"""Derived → Plan: for every parameter the order of the least predicted time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sympy
import torch
from torch import fx

from clipcompiler.clipping import Clipping, Flat
from clipcompiler.derive.derived import Derived
from clipcompiler.derive.references import InsideTap
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
from clipcompiler.plan.shared import share_grams

__all__ = ["STRATEGIES", "plan", "single"]

#: How clipped sums may be computed, by the names that ``compile`` takes.
STRATEGIES = ("auto", "bookkeeping", "reweight")

EACH = "the chain rule to its parameters needs g[n] itself"


def plan(
    derived: Derived,
    machine: Machine | None = None,
    clipping: Clipping | None = None,
    strategy: str = "auto",
    pick: Callable[[list[Choice]], Choice] | None = None,
    *,
    share: bool = True,
) -> Plan:
    """Chooses an order for every parameter; folds biases into the Grams of their weights where that is free.

    Parameters that are clipped apart share nothing. ``strategy="bookkeeping"`` keeps no per-example gradient for the
    sums, ``"reweight"`` takes the sums from a second backward pass; ``"auto"`` chooses what is predicted to be fastest.
    ``pick`` chooses among the ways of a parameter in place of predictions; ``share`` lets Grams be shared after that.

    Raises:
        ValueError: where ``clipping`` leaves a parameter without a group; for ``"reweight"`` where there are several
            groups, or a recurrent layer.
    """
    machine, clipping = machine or Machine(), clipping or Flat()
    machine = replace(machine, lengths=derived.axes.traced.usual)
    functions = derived.functions
    groups = clipping.groups([p.name for p in derived.axes.traced.parameters.values() if p.trainable])
    group_of = {name: group for group in groups for name in group.parameters}
    once = clipped_together(derived, group_of)
    read_once = {source for own in once for source in (*own.parameters, *own.values)}
    chosen: dict[fx.Node, Choice] = {}
    ways: dict[fx.Node, list[Choice]] = {}
    for source, terms in derived.terms.items():
        name = name_of(derived, source)
        if source in functions.values and source not in read_once:
            chosen[source] = kept(source, name, terms, Order.FUNCTION, EACH)
        elif source in functions.values or source not in functions.parameters:
            ways[source] = allowed(candidates(source, name, terms), strategy)
            chosen[source] = pick(ways[source]) if pick else cheapest(ways[source], machine)
    if share:
        chosen = share_grams(chosen, ways, machine)
    for value in functions.values:
        if value in chosen:
            chosen[value] = replace(chosen[value], parameters=parameters_of(derived, value))
    for source in functions.parameters:
        chosen[source] = (summed_first if source in read_once else pulled_back)(derived, source)
    for source, choice in chosen.items():
        together = [h for h in chosen.values() if group_of.get(h.parameter) is group_of.get(choice.parameter)]
        host = next((h for h in together if h.source is not source and folded(h, choice)), None)
        if host is not None and choice.order not in (Order.FUNCTION, Order.PULLED, Order.READ_ONCE):
            chosen[source] = folded_into(host, choice)
    if strategy == "reweight":
        return second_pass(Plan(derived, tuple(chosen.values()), ordinary_flops(derived.axes), clipping, groups))
    return Plan(derived, tuple(chosen.values()), ordinary_flops(derived.axes), clipping, groups)


def single(plan: Plan, way: Choice) -> Plan:
    """A plan of one parameter alone, to be run for its time: of no value to a step."""
    groups = tuple(replace(group, parameters=(way.parameter,)) for group in plan.groups[:1])
    return replace(plan, choices=(replace(way, parameters=()),), groups=groups)


def allowed(ways: list[Choice], strategy: str) -> list[Choice]:
    """The ways that a strategy leaves: only ``"auto"`` keeps gradients where there is another way."""
    others = [way for way in ways if not way.keeps]
    return ways if strategy == "auto" else others or ways


def second_pass(plan: Plan) -> Plan:
    """Sums by book-keeping → sums by a second backward pass; what is pulled back example by example stays kept.

    Raises:
        ValueError: where the second pass cannot give them.
    """
    if len(plan.groups) > 1:
        raise ValueError("strategy='reweight' weights whole losses: with several groups use strategy='bookkeeping'")
    if any(isinstance(tap, InsideTap) for tap in plan.derived.taps):
        raise ValueError(
            "strategy='reweight' runs the backward pass twice, which that of a recurrent layer does not allow: "
            "use strategy='bookkeeping'"
        )
    dtypes = {source.meta["val"].dtype.to_real() for source in plan.derived.terms}
    if len(dtypes) > 1 or dtypes & {torch.float16, torch.bfloat16}:
        raise ValueError(
            "strategy='reweight' rounds the clipped sums to the parameters' own dtype, and needs one, float32 or "
            f"float64; they are {', '.join(sorted(map(str, dtypes)))}: use strategy='bookkeeping'"
        )
    choices = tuple(
        replace(c, sum=Cost(), reweighted=True) if c.is_parameter and not c.keeps else c for c in plan.choices
    )
    return replace(plan, choices=choices, again=2 * plan.ordinary / 3)


def folded_into(host: Choice, bias: Choice) -> Choice:
    """A bias whose square is read off the Gram of its weight."""
    free = Cost(sympy.Integer(0), sympy.Integer(0), 0)
    paid = book_keeping(bias.terms[0].network)
    why = f"the {'Gram' if host.order is Order.GRAM else 'square'} of ȳ is at hand from {host.name}"
    return replace(bias, order=Order.FOLDED, norm=free, sum=paid, why=why, host=host.source)


def cheapest(ways: list[Choice], machine: Machine) -> Choice:
    """The way of the least predicted time, with the reason."""
    best = min(ways, key=lambda way: way.seconds(machine))
    return replace(best, why=reason(best, machine.lengths))
