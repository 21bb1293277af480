"""The buffers that a forward updates from parameters and buffers alone: the vectors of a power iteration, a count."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

from clipcompiler.codegen.body import Body, Part
from clipcompiler.codegen.calls import call_text, quoted
from clipcompiler.derive.derived import Derived
from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.flow import sources_of

__all__ = ["write_updates"]


def write_updates(body: Body, derived: Derived, values: dict[fx.Node, str], names: Mapping[fx.Node, str]) -> None:
    """The new values of the buffers; ``values`` get what has no gradient, which the forward then reads.

    What has one is computed again where it is needed with its graph.

    Raises:
        UntraceableModel: where that draws at random, and would be drawn twice.
    """
    traced = derived.axes.traced
    if not traced.updates:
        return
    body.section("buffers that the forward updates: no example is read", "with torch.no_grad()", Part.ONCE)
    before = sources_of(traced.updates.values())
    inner = dict(values)
    for node in traced.ops():
        if node not in before:
            continue
        if not derived.axes.trainable.get(node):
            values[node] = inner[node] = names[node]
        elif torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise UntraceableModel(
                "a buffer is updated from a function of parameters that draws at random",
                origin=traced.origin(node),
                remedy="update the buffer outside the forward",
            )
        else:
            inner[node] = body.names.fresh(f"{names[node]}_detached")
        body.line(f"{inner[node]} = {call_text(traced, node, inner)}")
    updates = ", ".join(f"{quoted(name)}: {inner[node]}.clone()" for name, node in traced.updates.items())
    body.line(f"updates = {{{updates}}}")
