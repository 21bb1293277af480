"""Derived → Plan: for every parameter the order of the least predicted time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import sympy
import torch
from torch import Tensor, fx

from clipcompiler.clipping import Clipping, Flat, Group
from clipcompiler.derive.derived import Derived, ReadOnce
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
from clipcompiler.plan.decisions import Decision, Piece, decided
from clipcompiler.plan.kernels import by_kernels
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
    usual = derived.axes.traced.usual
    groups = clipping.groups([p.name for p in derived.axes.traced.parameters.values() if p.trainable])
    choose = Chooser.of(derived, machine, groups, strategy, pick, share=share)
    decisions = decided(choose.at, usual) if usual and pick is None else ()
    told = {source: decision.told(source) for decision in decisions for source in decision.sources}
    choices = tuple(
        replace(choice, why=f"{choice.why}: {told[source]}") if source in told else choice
        for source, choice in choose.at(usual).items()
    )
    scans = machine.fused > 0 and any(isinstance(tap, InsideTap) for tap in derived.taps)
    ordinary = ordinary_flops(derived.axes)
    made = Plan(derived, choices, ordinary, clipping, groups, decisions=decisions, scans=scans)
    return second_pass(made) if strategy == "reweight" else made


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses an order for every parameter, for lengths that are given.

    Attributes:
        derived: the gradients.
        machine: what costs are put into time by.
        group_of: the group of every trained parameter.
        once: the sets of parameters whose every element is read at most once, and which are clipped together.
        ways: the ways of each parameter, or value of parameters, that has a choice.
        pick: chooses among them; the one of the least predicted time where it is ``None``.
        share: whether Grams may be shared.
    """

    derived: Derived
    machine: Machine
    group_of: Mapping[str, Group]
    once: tuple[ReadOnce, ...]
    ways: Mapping[fx.Node, list[Choice]]
    pick: Callable[[list[Choice]], Choice] | None
    share: bool

    @classmethod
    def of(
        cls,
        derived: Derived,
        machine: Machine,
        groups: tuple[Group, ...],
        strategy: str,
        pick: Callable[[list[Choice]], Choice] | None,
        *,
        share: bool,
    ) -> Chooser:
        """Finds the ways that there are."""
        functions = derived.functions
        group_of = {name: group for group in groups for name in group.parameters}
        once = clipped_together(derived, group_of)
        read_once = {source for own in once for source in (*own.parameters, *own.values)}
        ways = {
            source: allowed(ways_on(machine, candidates(source, name_of(derived, source), terms)), strategy)
            for source, terms in derived.terms.items()
            if (source in functions.values and source in read_once)
            or (source not in functions.values and source not in functions.parameters)
        }
        return cls(derived, machine, group_of, once, ways, pick, share)

    def at(self, lengths: Mapping[sympy.Symbol, int]) -> dict[fx.Node, Choice]:
        """The choices for a batch of these lengths."""
        machine, derived, functions = replace(self.machine, lengths=lengths), self.derived, self.derived.functions
        read_once = {source for own in self.once for source in own.parameters}
        chosen: dict[fx.Node, Choice] = {}
        for source, terms in derived.terms.items():
            if source in self.ways:
                chosen[source] = self.pick(self.ways[source]) if self.pick else cheapest(self.ways[source], machine)
            elif source in functions.values:
                chosen[source] = kept(source, name_of(derived, source), terms, Order.FUNCTION, EACH)
        if self.share:
            chosen = share_grams(chosen, self.ways, machine)
        for value in functions.values:
            if value in chosen:
                chosen[value] = replace(chosen[value], parameters=parameters_of(derived, value))
        for source in functions.parameters:
            chosen[source] = (summed_first if source in read_once else pulled_back)(derived, source)
        return self.with_biases_folded(chosen)

    def with_biases_folded(self, chosen: dict[fx.Node, Choice]) -> dict[fx.Node, Choice]:
        """Biases whose squares are at hand from the Grams of their weights."""
        for source, choice in chosen.items():
            group = self.group_of.get(choice.parameter)
            together = [h for h in chosen.values() if self.group_of.get(h.parameter) is group]
            host = next((h for h in together if h.source is not source and folded(h, choice)), None)
            if host is not None and choice.order not in (Order.FUNCTION, Order.PULLED, Order.READ_ONCE):
                chosen[source] = folded_into(host, choice)
        return chosen


def single(plan: Plan, way: Choice) -> Plan:
    """A plan of one parameter alone, to be run for its time: of no value to a step."""
    groups = tuple(replace(group, parameters=(way.parameter,)) for group in plan.groups[:1])
    return replace(plan, choices=(replace(way, parameters=()),), groups=groups, decisions=())


def ways_on(machine: Machine, ways: list[Choice]) -> list[Choice]:
    """The ways that a machine has: those by kernels too, where it runs them."""
    return [*ways, *by_kernels(ways)] if machine.fused else ways


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

    if narrowed(plan.derived, next(iter(dtypes), torch.float64)):
        raise ValueError(
            "strategy='reweight' rounds weighted gradients where the model computes in a narrower dtype than its "
            "parameters', so that an example may contribute more than C: use strategy='bookkeeping'"
        )

    def summed_again(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        return tuple(replace(c, sum=Cost(), reweighted=True) if c.is_parameter and not c.keeps else c for c in choices)

    decisions = tuple(
        Decision(d.letter, tuple(Piece(p.most, summed_again(p.choices)) for p in d.pieces)) for d in plan.decisions
    )
    choices = summed_again(plan.choices)
    return replace(plan, choices=choices, decisions=decisions, again=2 * plan.ordinary / 3)


def narrowed(derived: Derived, dtype: torch.dtype) -> bool:
    """Whether a value of the examples is rounded to a narrower dtype on the way."""
    axes = derived.axes
    values = (node.meta.get("val") for node in axes.traced.ops() if axes.carries(node))
    tensors = [v for v in values if isinstance(v, Tensor) and (v.is_floating_point() or v.is_complex())]
    return any(torch.finfo(v.dtype.to_real()).eps > torch.finfo(dtype).eps for v in tensors)


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
