"""A plan as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy

from clipcompiler.algebra import Network
from clipcompiler.derive.by_unit import MEMBERS, UNITS
from clipcompiler.plan.choice import Choice
from clipcompiler.plan.machine import NOMINAL_BATCH, NOMINAL_UNIT
from clipcompiler.trace.traced import N

__all__ = ["amount_of", "table"]

#: Name, flops in N, and meaning of each total.
Totals = Sequence[tuple[str, Any, str]]
HEADINGS = ("parameter", "rule", "g[n]", "order", "flops/N", "bytes/N", "why")


#: The usual sizes of the lengths of a batch.
Lengths = Mapping[sympy.Symbol, int]


def table(
    choices: Sequence[Choice], unreached: Sequence[str], frozen: Sequence[str], totals: Totals, lengths: Lengths
) -> str:
    """A row for every choice and every parameter that the loss does not reach, then the frozen ones and the totals."""
    rows = [HEADINGS, *(row(choice, lengths) for choice in choices)]
    rows += [(name, "–", "0", "–", "0", "0", "the loss does not depend on it") for name in unreached]
    lines = [*aligned(rows), ""]
    if frozen:
        lines.append(f"frozen, no cost: {', '.join(frozen)}")
    return "\n".join([*lines, *shares(totals, lengths)])


def row(choice: Choice, lengths: Lengths) -> tuple[str, ...]:
    """The cells of one parameter."""
    moved = choice.norm.bytes + choice.sum.bytes
    rules = "+".join(dict.fromkeys(term.rule.name for term in choice.terms)) or "chain rule"
    equation = " + ".join(show(term.each) for term in choice.terms) or "Σ_v (∂v/∂θ)ᵀ g_v"
    paid = choice.norm.products + choice.sum.products
    name = f"{choice.name} (of {', '.join(choice.parameters)})" if choice.parameters else choice.name
    return (name, rules, equation, choice.order.value, amount(paid, lengths), amount(moved, lengths), choice.why)


def show(network: Network) -> str:
    """A gradient network, short enough for a cell."""
    text = str(network)
    return text if len(text) <= 60 else text[:57] + "…"


def shares(totals: Totals, lengths: Lengths) -> list[str]:
    """The flops of each part for one example, and as a share of the first."""
    whole = float(per_example(totals[0][1], lengths)) or 1.0
    return [
        f"{name:>14}: {amount_of(flops):>8} flops an example ({100 * flops / whole:5.1f}%)  {what}"
        for name, flops, what in ((name, float(per_example(flops, lengths)), what) for name, flops, what in totals)
    ]


def per_example(expression: Any, lengths: Lengths) -> Any:
    """The coefficient of N, and the share in what a batch costs once; units are counted as of the nominal size."""
    counted = sympy.sympify(expression).subs({UNITS: N / NOMINAL_UNIT, MEMBERS: NOMINAL_UNIT, **lengths})
    return sympy.cancel(counted / N).subs(N, NOMINAL_BATCH)


def amount(expression: Any, lengths: Lengths) -> str:
    """12.3 M for one example."""
    return amount_of(float(per_example(expression, lengths)))


def amount_of(value: float) -> str:
    """12.3 M"""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of columns, ruled below the headings."""
    widths = [max(len(r[k]) for r in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]
