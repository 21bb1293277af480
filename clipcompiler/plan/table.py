"""A plan as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sympy

from clipcompiler.algebra import Network
from clipcompiler.plan.choice import Choice
from clipcompiler.trace.traced import N

if TYPE_CHECKING:
    from clipcompiler.plan.plan import Plan

__all__ = ["amount_of", "table"]

HEADINGS = ("parameter", "rule", "g[n]", "order", "flops/N", "bytes/N", "why")


def table(plan: Plan) -> str:
    """A row for every parameter, then the parameters without a gradient, then the totals."""
    rows = [HEADINGS, *(row(choice) for choice in plan.choices)]
    for parameter in plan.derived.unreached:
        rows.append((parameter.name, "–", "0", "–", "0", "0", "the loss does not depend on it"))
    frozen = [p.name for p in plan.derived.axes.traced.parameters.values() if not p.trainable]
    lines = [*aligned(rows), ""]
    if frozen:
        lines.append(f"frozen, no cost: {', '.join(frozen)}")
    lines += totals(plan)
    return "\n".join(lines)


def row(choice: Choice) -> tuple[str, ...]:
    """The cells of one parameter."""
    moved = choice.norm.bytes + choice.sum.bytes
    rules = "+".join(dict.fromkeys(term.rule.name for term in choice.terms))
    equation = " + ".join(show(term.network) for term in choice.terms)
    paid = choice.norm.flops + choice.sum.flops
    return (choice.name, rules, equation, choice.order.value, amount(paid), amount(moved), choice.why)


def show(network: Network) -> str:
    """A gradient network, short enough for a cell."""
    text = str(network)
    return text if len(text) <= 60 else text[:57] + "…"


def totals(plan: Plan) -> list[str]:
    """The flops of the three parts, for one example."""
    parts = (
        ("ordinary step", plan.ordinary, "forward, gradients of activations and of parameters"),
        ("squared norms", plan.norm_flops, "beyond the cotangents, which an ordinary step computes too"),
        ("clipped sums", plan.sum_flops, "in place of the gradients of parameters"),
    )
    total = float(per_example(plan.ordinary)) or 1.0
    return [
        f"{name:>14}: {amount(flops):>8} flops an example ({100 * float(per_example(flops)) / total:5.1f}%)  {what}"
        for name, flops, what in parts
    ]


def per_example(expression: Any) -> Any:
    """The coefficient of N."""
    return sympy.cancel(sympy.sympify(expression) / N).subs(N, 1)


def amount(expression: Any) -> str:
    """12.3 M for one example."""
    return amount_of(float(per_example(expression)))


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
