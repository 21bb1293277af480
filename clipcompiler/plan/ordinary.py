"""The flops of an ordinary training step: forward, gradients of activations, gradients of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy
from torch import Tensor, fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.call import Call
from clipcompiler.axes.inside import layouts_inside, with_returned
from clipcompiler.derive.bind import bind
from clipcompiler.dsl import Equation, Inside
from clipcompiler.dsl.equation import accesses

__all__ = ["ordinary_flops"]


def ordinary_flops(axes: Axes) -> Any:
    """Counted from the equations of the ops: two for every product summed; one an element for the others.

    An op costs its forward once more for the gradient of its activations, where anything before it is
    trained, and once more for the gradient of its parameters.
    """
    trained: set[fx.Node] = set()
    total = sympy.Integer(0)
    for node in axes.traced.ops():
        inputs = node.all_input_nodes
        before = any(axes.carries(o) and o in trained for o in inputs)
        own = any(axes.trainable.get(o) and not axes.carries(o) for o in inputs)
        if before or own:
            trained.add(node)
        total += forward_flops(axes, node) * (1 + before + own)
    return total


def forward_flops(axes: Axes, node: fx.Node) -> Any:
    """The flops of one op."""
    call = axes.calls.get(node)
    if call is not None and isinstance(call.form, (Equation, Inside)):
        return sum((term for term in products(axes, call, call.form)), sympy.Integer(0))
    value = node.meta.get("val")
    return sympy.prod(list(axes.traced.shape(node))) if isinstance(value, Tensor) else sympy.Integer(0)


def products(axes: Axes, call: Call, form: Equation | Inside) -> Iterator[Any]:
    """For each term of an equation the extent of all its letters, twice where elements are multiplied."""
    layouts = {name: axes.layout(o) for name, o in call.operands.items()}
    value, origin = axes.layouts[call.node], axes.traced.origin(call.node)
    values = value if isinstance(value, list) else [value]
    if isinstance(form, Inside):
        layouts = with_returned(form, layouts, values)
        inside = layouts_inside(call, layouts, origin, axes.traced.examples_per_unit)
        parts = [(part, inside[name]) for name, equation in form.at.items() for part in equation.parts]
    else:
        layouts |= {x.name: layouts[x.args[0].name] for x in form.where}
        parts = [(part, values[0] or ()) for part in form.parts]
    for part, output in parts:
        bound = bind(part, layouts, output, origin)
        for term in sympy.Add.make_args(part.value):
            reads = [bound.reads[a] for a in accesses(term)]
            letters = {x for index in reads for e in index for x in (e if isinstance(e, tuple) else letters_in(e))}
            letters |= {x for e in bound.output for x in (e if isinstance(e, tuple) else ())}
            yield (2 if len(reads) > 1 else 1) * sympy.prod([x.extent for x in letters - set(bound.lookups)])


def letters_in(affine: Any) -> list[Any]:
    """The letters of an affine place."""
    return [letter for _, letter in affine.terms]
