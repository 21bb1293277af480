"""The derivation of one parameter's norm, from the equation of its op, as it is printed."""

from __future__ import annotations

from dataclasses import dataclass

from clipcompiler.algebra import Factor, Letter
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.derived import Term

__all__ = ["Derivation"]


@dataclass(frozen=True, slots=True)
class Derivation:
    """equation → gradient → norm → clipped sum, for one parameter.

    Attributes:
        name: the parameter.
        terms: the terms of its gradient.
        order: the contraction order chosen.
        why: why.
    """

    name: str
    terms: tuple[Term, ...]
    order: str
    why: str

    def __str__(self) -> str:
        lines = [self.name]
        for term in self.terms:
            lines += [f"  {head:<12}{text}" for head, text in steps(term)]
        return "\n".join([*lines, f"  {'order':<12}{self.order}: {self.why}"])


def steps(term: Term) -> list[tuple[str, str]]:
    """The lines of one term."""
    network = term.network
    place = f"in {term.origin.module_path or 'the root module'}, {term.origin.op}, rule {term.rule.name}"
    own = ",".join(map(str, network.output))
    return [
        ("op", place),
        ("rule", term.rule.statement),
        ("here", term.equation),
        ("gradient", f"g[{own}] = {network}"),
        ("norm", f"‖g[n]‖² = {squared(term)}"),
        ("clipped sum", f"G[{','.join(map(str, term.letters))}] = Σ_n c[n] g[{own}]"),
    ]


def squared(term: Term) -> str:
    """Σ Π factors Π factors′"""
    network = term.network
    positions = term.square.positions
    letters = [x for x in network.letters if x != EXAMPLE]
    over = [str(x) for x in letters] + [f"{x}'" for x in letters if x in positions]
    first = network.product
    second = " ".join(primed(f, positions) for f in network.factors)
    return f"Σ_{{{','.join(over)}}} {first} · {second}" if positions else f"Σ_{{{','.join(over)}}} ({first})²"


def primed(factor: Factor, positions: frozenset[Letter]) -> str:
    """A factor of the second copy."""
    text = str(factor)
    for letter in sorted(positions, key=lambda x: len(x.name), reverse=True):
        text = text.replace(letter.name, f"{letter.name}'")
    return text
