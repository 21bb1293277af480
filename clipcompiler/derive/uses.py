"""Axes → every use of a trainable parameter, and the values computed from parameters alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.call import operands_of
from clipcompiler.derive.derived import Functions, Use
from clipcompiler.trace.flow import sources_of

__all__ = ["functions_of", "gradient_path", "uses_of"]


def uses_of(axes: Axes) -> tuple[Use, ...]:
    """Every place where a value that depends on trainable parameters and carries no examples meets them."""
    found: list[Use] = []
    path = gradient_path(axes)
    for node in axes.traced.ops():
        if not axes.carries(node) or node not in path:
            continue
        for name, operand in operands_of(axes.traced, node)[0].items():
            if not axes.carries(operand) and axes.trainable.get(operand):
                found.append(Use(node, name, operand))
    return tuple(found)


def gradient_path(axes: Axes) -> set[fx.Node]:
    """The nodes from which a gradient of the loss flows to their operands: not behind argmax or detach."""
    path: set[fx.Node] = set()
    pending = [axes.traced.loss]
    while pending:
        node = pending.pop()
        if node not in path and node.op == "call_function" and axes.reads_gradient(node):
            path.add(node)
            pending += node.all_input_nodes
    return path


def functions_of(axes: Axes, sources: Iterable[fx.Node]) -> Functions:
    """The values among the sources of terms that are no parameters, and what lies between them and the parameters."""
    values = tuple(source for source in sources if source.op != "placeholder")
    parameters = {p for value in values for p in axes.trainable[value]}
    between = sources_of(values)
    order = list(axes.traced.graph.nodes)
    return Functions(
        values,
        tuple(node for node in order if node in parameters),
        tuple(node for node in order if node in between and node.op != "placeholder"),
    )
