"""Every use of every trainable parameter is claimed: the check that no gradient is left out."""

from __future__ import annotations

from torch import fx

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
    claimed = {(u.node, u.source) for terms in derived.terms.values() for t in terms for u in t.uses}
    for node in axes.traced.graph.nodes:
        parameter = axes.traced.parameter(node)
        if parameter is None or not parameter.trainable:
            continue
        for source, user in meetings(node, derived):
            if (user, source) not in claimed:
                raise CompileError(
                    f"{parameter.name} enters {user} and no term of its gradient claims that use",
                    origin=axes.traced.origin(user),
                    remedy="this is a fault of clipcompiler: report it with the model",
                )
    if len(claimed) != len({(use.node, use.source) for use in uses}):
        raise CompileError("a use of a parameter gave no term", remedy="this is a fault of clipcompiler: report it")


def meetings(parameter: fx.Node, derived: Derived) -> list[tuple[fx.Node, fx.Node]]:
    """(value without examples, op with examples that reads it), for all values computed from a parameter."""
    axes = derived.axes
    found: list[tuple[fx.Node, fx.Node]] = []
    path = gradient_path(axes)
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
