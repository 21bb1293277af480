"""Every use of every trainable parameter is claimed: the check that no gradient is left out."""

from __future__ import annotations

from torch import fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.derived import Derived, Use
from clipcompiler.derive.uses import gradient_path
from clipcompiler.errors import CompileError

__all__ = ["check_claims"]


def check_claims(derived: Derived, uses: tuple[Use, ...]) -> None:
    """Walks forward from every trainable parameter to the first ops with examples, and finds each among the terms.

    Independent of how the uses were collected: it follows the users of the graph, not the operands of ops.

    Raises:
        CompileError: naming the parameter, where an op uses it and no term of its gradient says so.
    """
    axes = derived.axes
    claimed: dict[tuple[fx.Node, fx.Node], set[fx.Node]] = {}
    for own, terms in derived.terms.items():
        for term in terms:
            for use in term.uses:
                claimed.setdefault((use.node, use.source), set()).add(own)
    path = gradient_path(axes)
    for node in axes.traced.graph.nodes:
        parameter = axes.traced.parameter(node)
        if parameter is None or not parameter.trainable:
            continue
        for source, user in meetings(node, axes, path):
            owners = claimed.get((user, source), set())
            if not owners or not all(reaches(derived, owner, node) for owner in owners):
                raise CompileError(
                    f"{parameter.name} enters {user} and no term of its gradient claims that use",
                    origin=axes.traced.origin(user),
                    remedy="this is a fault of clipcompiler: report it with the model",
                )
    if len(claimed) != len({(use.node, use.source) for use in uses}):
        raise CompileError("a use of a parameter gave no term", remedy="this is a fault of clipcompiler: report it")


def reaches(derived: Derived, source: fx.Node, parameter: fx.Node) -> bool:
    """Whether the gradient of a source is that of a parameter, or is carried to it by the functions between them."""
    functions = derived.functions
    return source is parameter or (
        source in functions.values and parameter in functions.parameters and parameter in derived.axes.trainable[source]
    )


def meetings(parameter: fx.Node, axes: Axes, path: set[fx.Node]) -> list[tuple[fx.Node, fx.Node]]:
    """(value without examples, op with examples on a gradient's path that reads it), for all that a parameter makes."""
    found: list[tuple[fx.Node, fx.Node]] = []
    pending, seen = [parameter], {parameter}
    while pending:
        source = pending.pop()
        for user in source.users:
            if user not in path:
                continue
            if axes.carries(user):
                found.append((source, user))
            elif user not in seen:
                seen.add(user)
                pending.append(user)
    return found
