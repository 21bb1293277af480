"""Stage 3, derive: ``Axes`` → ``Derived``: for every trainable parameter its per-example gradient, as networks."""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.claims import check_claims
from clipcompiler.derive.derived import Derived, Functions, Term, Use
from clipcompiler.derive.read_once import read_once
from clipcompiler.derive.stack import stacked
from clipcompiler.derive.substitute import substitute
from clipcompiler.derive.terms import terms_of
from clipcompiler.derive.uses import functions_of, uses_of

__all__ = ["Derived", "Functions", "Term", "Use", "derive"]


def derive(axes: Axes) -> Derived:
    """Derives every use of a trainable parameter from the equation of its op.

    Raises:
        NoRule: where a parameter enters an op whose rule states no equation.
        CompileError: where a use would go unclaimed, which no input should be able to cause.
    """
    uses = uses_of(axes)
    terms: dict[fx.Node, tuple[Term, ...]] = {}
    for use in uses:
        for term in map(substitute, terms_of(axes, use)):
            terms[term.source] = (*terms.get(term.source, ()), term)
    terms = {source: stacked(own) for source, own in terms.items()}
    reached = {p for source in terms for p in axes.trainable[source]}
    unreached = tuple(
        parameter
        for name, parameter in axes.traced.parameters.items()
        if parameter.trainable and name not in {p.name for p in reached}
    )
    functions = functions_of(axes, terms)
    functions = replace(functions, read_once=read_once(axes, functions, direct=terms))
    derived = Derived(axes, terms, functions, unreached)
    check_claims(derived, uses)
    return derived
