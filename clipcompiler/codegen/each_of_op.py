"""g[n] of one op that no equation is known for: its vjp, for one example at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.layout import Layout, around_examples
from clipcompiler.codegen.body import Body
from clipcompiler.codegen.calls import literal, plain_call
from clipcompiler.codegen.helpers import BY_EXAMPLE, EACH_BY_LOOP, EACH_BY_VMAP
from clipcompiler.derive.references import EachOfOp, Tap
from clipcompiler.trace.source import op_name

__all__ = ["write_each"]


def write_each(
    body: Body, axes: Axes, each: EachOfOp, values: Mapping[fx.Node, str], cotangents: Mapping[Tap, str]
) -> str:
    """The op as a function of w and of what one example has of its other arguments; its vjp for every example."""
    key = f"each of {each.node.name} for {each.source.name}"
    if key in body.known:
        return body.known[key]
    own = values[each.source]
    split = {values[o]: o for o in each.node.all_input_nodes if axes.carries(o)}
    outputs = ", ".join(by_example(cotangents[tap], axes.layout(tap.node)) for _, tap in each.taps)
    operands = [by_example(name, axes.layout(o)) for name, o in split.items()]
    stem = op_name(each.node).split(".")[1].strip("_")
    function = body.names.fresh(f"{stem}_of_one")
    body.line(f"def {function}({', '.join([own, *split])}):")
    body.line(f"    return {outputs_of(each, values)}")
    way = EACH_BY_VMAP if each.vmapped else EACH_BY_LOOP
    text = f"{way}({', '.join([function, own, f'({outputs},)', *operands])})"
    body.known[key] = body.bind(f"{own}_each_of_{stem}", text)
    return body.known[key]


def outputs_of(each: EachOfOp, values: Mapping[fx.Node, str]) -> str:
    """The outputs that have cotangents, as a tuple."""

    def text(value: Any) -> str:
        return values[value] if isinstance(value, fx.Node) else literal(value, text)

    call = plain_call(each.node, text)
    numbers = tuple(number for number, _ in each.taps)
    if numbers == (None,):
        return f"({call},)"
    return f"tuple({call}[k] for k in {numbers})" if len(numbers) > 1 else f"({call}[{numbers[0]}],)"


def by_example(name: str, layout: Layout) -> str:
    """A value as a batch of one for every example."""
    dim, *around = around_examples(layout)
    if dim == 0 and around == [1, 1]:
        return f"{name}.unsqueeze(1)"
    return f"{BY_EXAMPLE}({name}, {dim}" + (f", {tuple(around)})" if around != [1, 1] else ")")
