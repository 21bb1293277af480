"""A traced graph of one op, made without tracing: what the axis analysis finds of a placed sample.

``torch.export`` refuses many of the calls that an analysis must refuse by itself, and takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy
from placing import outputs, values_of
from sampling import Sample, Size
from torch import fx

from clipcompiler.axes.analyse import Analysis
from clipcompiler.axes.layout import EXAMPLES, Axis, Dim, Layout, merged, plain
from clipcompiler.dsl import RuleSet
from clipcompiler.rules import default_rules
from clipcompiler.trace.traced import N, TracedLoss

__all__ = ["TRIED", "expected_layout", "layouts_found"]

#: Two numbers of examples, from which the extents of an output are told as a·N + b; no sample has such an extent.
TRIED = (11, 13)


@dataclass(frozen=True, slots=True)
class OneOp(TracedLoss):
    """A graph whose extents are given beside it."""

    shapes: Mapping[fx.Node, Any] = field(default_factory=dict)

    def shape(self, node: fx.Node, output: int | None = None) -> tuple[Any, ...]:
        """The extents of a node's value, or of one of its values."""
        return self.shapes[node] if output is None else self.shapes[node][output]

    def extent(self, size: Any) -> Any:
        """A size as a number or an expression in N."""
        return size.at(N) if isinstance(size, Size) else size


def layouts_found(sample: Sample, rules: RuleSet = default_rules) -> list[Layout | None]:
    """Where the analysis finds the examples in every output; raises what the analysis raises."""
    graph, shapes = fx.Graph(), {}
    analysis = Analysis(OneOp(graph, "Sample", {}, {}, (), shapes=shapes), rules)
    nodes: dict[str, fx.Node] = {}
    values = values_of(sample, TRIED[0])
    for name, spec in sample.operands.items():
        node = nodes[name] = graph.placeholder(f"x{len(nodes)}")
        node.meta["val"] = values[name]
        shapes[node] = tuple(size.at(N) if isinstance(size, Size) else size for size in spec.shape)
        analysis.layouts[node] = expected_layout(spec.shape)

    def size_node(size: Size) -> fx.Node:
        node = graph.placeholder("size")
        node.meta["val"] = size
        return node

    args, kwargs = sample.filled(lambda name, _: nodes[name], size_node)
    call = graph.call_function(sample.op, args, kwargs)
    call.meta["val"] = sample(values, TRIED[0])
    several = isinstance(call.meta["val"], (list, tuple))
    shapes[call] = extents_of(sample) if several else extents_of(sample)[0]
    analysis.compute(call)
    found = analysis.layouts[call]
    return found if isinstance(found, list) else [found]


def expected_layout(shape: tuple[Any, ...]) -> Layout:
    """The layout that a shape states by its sizes."""
    return tuple(dim_of(size) for size in shape)


def dim_of(size: Any) -> Dim:
    """``2 * n * 3`` → the axes (2, n, 3)."""
    if not isinstance(size, Size):
        return plain((size,))[0]
    return merged([Axis(size.before), EXAMPLES, Axis(size.after)])


def extents_of(sample: Sample) -> list[tuple[Any, ...]]:
    """The extents of every output, as a·N + b."""
    first, second = ([y.shape for y in outputs(sample(values_of(sample, k), k))] for k in TRIED)
    return [tuple(line(a, b) for a, b in zip(x, y, strict=True)) for x, y in zip(first, second, strict=False)]


def line(first: int, second: int) -> Any:
    """The expression in N through two extents."""
    slope = sympy.Rational(second - first, TRIED[1] - TRIED[0])
    return first if slope == 0 else slope * N + (first - slope * TRIED[0])
