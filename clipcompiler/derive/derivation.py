"""The derivation of one parameter's norm, from the equation of its op, as it is printed."""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from clipcompiler.algebra import Factor, Pair
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Term
from clipcompiler.derive.notation import primed, show_order
from clipcompiler.derive.references import Elementwise
from clipcompiler.trace.source import op_name

__all__ = ["Derivation"]


@dataclass(frozen=True, slots=True)
class Derivation:
    """equation → gradient → norm → clipped sum, for one parameter.

    Attributes:
        name: the parameter.
        terms: the terms of its gradient.
        trees: for each term the order in which its squared norm is summed.
        order: the contraction order chosen.
        why: why.
        values: for a parameter behind functions the derivations of the values that are computed from it.
    """

    name: str
    terms: tuple[Term, ...]
    trees: tuple[Pair, ...]
    order: str
    why: str
    values: tuple[Derivation, ...] = ()

    def __str__(self) -> str:
        lines = [self.name]
        for value in self.values:
            lines += [f"  {line}" for line in str(value).splitlines()]
        for term, tree in zip(self.terms, self.trees, strict=True):
            lines += [f"  {head:<12}{text}" for head, text in steps(term, tree)]
        return "\n".join([*lines, f"  {'order':<12}{self.order}: {self.why}"])


def steps(term: Term, tree: Pair) -> list[tuple[str, str]]:
    """The lines of one term."""
    network = term.network
    more = f", and {len(term.uses) - 1} more uses like it" if len(term.uses) > 1 else ""
    place = f"in {term.origin.module_path or 'the root module'}, {term.origin.op}, rule {term.rule.name}{more}"
    own = ",".join(map(str, network.output))
    where = [("where", f"{f} = {written(f.tensor.reference)}") for f in network.factors if is_composed(f)]
    return [
        ("op", place),
        ("rule", term.rule.statement),
        ("here", term.equation),
        *through(term),
        ("gradient", f"g[{own}] = {network}"),
        *where,
        ("norm", f"‖g[n]‖² = {squared(term)}"),
        ("summed as", show_order(term.square, tree)),
        ("clipped sum", f"G[{','.join(map(str, term.letters))}] = Σ_n c[n] g[{own}]"),
    ]


def through(term: Term) -> list[tuple[str, str]]:
    """What stands between the parameter and the op, where the op reads its elements in another order."""
    ops, node = [], term.uses[0].source
    while node is not term.source:
        ops.append(op_name(node).removeprefix("aten.").split(".")[0])
        (node,) = node.all_input_nodes
    return [("where", f"the op reads {' of '.join(ops)} of it; the letters of g are in its own order")] if ops else []


def is_composed(factor: Factor) -> bool:
    """Whether a factor is an expression of several tensors."""
    return isinstance(factor.tensor.reference, Elementwise)


def written(reference: Elementwise) -> str:
    """An expression with its tensors accessed by letters."""
    return (
        str(reference.expression.xreplace({s: sympy.Symbol(str(f)) for s, f in reference.reads}))
        .replace("**", "^")
        .replace("*", "·")
    )


def squared(term: Term) -> str:
    """Σ Π factors Π factors′"""
    network = term.network
    positions = term.square.positions
    letters = [x for x in network.letters if x != EXAMPLE]
    over = [str(x) for x in letters] + [f"{x}'" for x in letters if x in positions]
    first = network.product
    second = " ".join(primed(f, positions) for f in network.factors)
    return f"Σ_{{{','.join(over)}}} {first} · {second}" if positions else f"Σ_{{{','.join(over)}}} ({first})²"
