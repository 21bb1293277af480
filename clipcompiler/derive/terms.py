"""use → the terms of a per-example gradient that come from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import fx

from clipcompiler.algebra import Tensor
from clipcompiler.axes.analyse import Axes
from clipcompiler.axes.call import Call
from clipcompiler.axes.inside import layouts_inside, with_returned
from clipcompiler.axes.layout import Layout, plain, size_of
from clipcompiler.derive.bind import bind
from clipcompiler.derive.complex_values import by_parts, is_sum_of_cotangent, meets_complex
from clipcompiler.derive.derived import Term, Use
from clipcompiler.derive.gradient import differentiate
from clipcompiler.derive.one_op import of_one_op
from clipcompiler.derive.references import (
    AuxiliaryValue,
    Cotangent,
    InsideTap,
    OperandTap,
    OutputTap,
    OutputValue,
    Tap,
    Value,
)
from clipcompiler.dsl import Aligned, Equation, Inside, Operand, expands
from clipcompiler.errors import NoRule

__all__ = ["terms_of"]

#: How the arguments of torch's ops are written in equations.
SYMBOLS = {"self": "x", "input": "x", "weight": "W", "bias": "b", "other": "z", "mat1": "a", "mat2": "b"}


def terms_of(axes: Axes, use: Use) -> tuple[Term, ...]:
    """The terms of the gradient of ``use.source`` that one op contributes.

    Raises:
        NoRule: where the rule of the op states no equation in which the parameter stands.
    """
    call = axes.calls[use.node]
    same = [name for name, operand in call.operands.items() if operand is use.source]
    if use.operand != same[0]:
        return ()  # all places of one value in one op are one use of it, whose gradients are added
    try:
        terms = tuple(term for name in same for term in of_formula(axes, replace(use, operand=name), call))
    except NoRule as unknown:
        terms = of_one_op(axes, use, call, unknown)
    return tuple(map(by_parts, terms))


def of_formula(axes: Axes, use: Use, call: Call) -> tuple[Term, ...]:
    """The terms by the equation of the op, or by its being elementwise.

    Raises:
        NoRule: where the rule of the op states no equation in which the parameter stands.
    """
    layouts = {name: axes.layout(o) for name, o in call.operands.items()}
    unlike = meets_complex(use.node)
    if isinstance(call.form, Equation) and call.form.reads(use.operand):
        terms = of_equation(axes, use, call, call.form, layouts)
        if not unlike or all(map(is_sum_of_cotangent, terms)):
            return terms
    if isinstance(call.form, Inside) and call.form.reads(use.operand):
        return of_inside(axes, use, call, call.form, layouts)
    elementwise = isinstance(call.form, Aligned) and call.form.pointwise
    if single(axes, use.node) and (elementwise or (unlike and torch.Tag.pointwise in tags_of(use.node))):
        return of_elementwise(axes, use, call, layouts)
    raise NoRule(
        f"{axes.traced.origin(use.node).op} uses a parameter as its argument '{use.operand}', "
        f"and its rule '{call.rule.name}' states no equation for it",
        origin=axes.traced.origin(use.node),
        remedy="write the op through linear, conv or elementwise ops, or give it a rule: docs/write-a-rule.md",
    )


def tags_of(node: fx.Node) -> tuple[torch.Tag, ...]:
    """What torch says of an op."""
    return tuple(getattr(node.target, "tags", ()))


def single(axes: Axes, node: fx.Node) -> bool:
    """Whether an op has one output."""
    return not isinstance(axes.layouts[node], list)


def of_equation(axes: Axes, use: Use, call: Call, form: Equation, layouts: dict[str, Layout]) -> tuple[Term, ...]:
    """g = Σ ȳ ∂y/∂W by the equation of the op."""
    origin = axes.traced.origin(use.node)
    tap = OutputTap(use.node)
    known = {**layouts, **{x.name: like_input(layouts, x.args) for x in form.where}}
    auxiliaries = {x.name: x for x in form.where}
    output = output_layout(axes, use.node)

    def tensor(name: str) -> Tensor:
        if name in auxiliaries:
            x = auxiliaries[name]
            args = tuple(call.operands[a.name] if isinstance(a, Operand) else a for a in x.args)
            return Tensor(name, AuxiliaryValue(use.node, name, x.op, args))
        return Tensor(symbol(name), Value(call.operands[name]))

    cotangent = Tensor("ȳ", Cotangent(tap))
    bound = [bind(part, known, output, origin) for part in form.parts]
    equation = ", and ".join(b.show(symbol) for b in bound)
    return tuple(
        Term((use,), (tap,), call.rule, network, origin, equation)
        for b in bound
        for network in differentiate(b, use.operand, cotangent, tensor, origin)
    )


def of_inside(axes: Axes, use: Use, call: Call, form: Inside, layouts: dict[str, Layout]) -> tuple[Term, ...]:
    """g = Σ z̄ ∂z/∂W by the equations of the pre-activations z that the parameter enters."""
    origin = axes.traced.origin(use.node)
    outputs = axes.layouts[use.node]
    known = with_returned(form, layouts, outputs if isinstance(outputs, list) else [outputs])
    inside = layouts_inside(call, known, origin, axes.traced.examples_per_unit)

    def tensor(name: str) -> Tensor:
        if name in form.returned:
            return Tensor(name, OutputValue(use.node, form.returned[name]))
        return Tensor(symbol(name), Value(call.operands[name]))

    terms: list[Term] = []
    for name in form.reads(use.operand):
        tap = InsideTap(use.node, name, tuple(map(size_of, inside[name])))
        cotangent = Tensor(f"{name[0]}̄{name[1:]}", Cotangent(tap))
        bound = bind(form.at[name], known, inside[name], origin)
        networks = differentiate(bound, use.operand, cotangent, tensor, origin)
        equation = bound.show(symbol).replace("y[", f"{name}[", 1)
        terms += [Term((use,), (tap,), call.rule, network, origin, equation) for network in networks]
    return tuple(terms)


def of_elementwise(axes: Axes, use: Use, call: Call, layouts: Mapping[str, Layout]) -> tuple[Term, ...]:
    """y = f(x, e), e[n,s] = θ[s]: the cotangent of the repeated parameter is ȳ ∂f/∂θ, place by place."""
    origin = axes.traced.origin(use.node)
    tap: Tap = OperandTap(use.node, use.operand)
    shape = axes.traced.shape(use.node)
    form = expands(Operand(use.operand, axes.traced.shape(use.source)), shape)
    bound = bind(form, {use.operand: layouts[use.operand]}, output_layout(axes, use.node), origin)
    cotangent = Tensor("ē", Cotangent(tap))
    networks = differentiate(bound, use.operand, cotangent, lambda name: Tensor(name, None), origin)
    equation = f"y = f(…, e), {bound.show(symbol).replace('y[', 'e[', 1)}"
    return tuple(Term((use,), (tap,), call.rule, network, origin, equation) for network in networks)


def output_layout(axes: Axes, node: fx.Node) -> Layout:
    """The layout of the output that an equation speaks of: the first."""
    value = axes.layouts[node]
    layout = value[0] if isinstance(value, list) else value
    return layout if layout is not None else plain(())


def like_input(layouts: Mapping[str, Layout], args: tuple[object, ...]) -> Layout:
    """The layout of an auxiliary: that of the operand it is made from."""
    first = next(a for a in args if isinstance(a, Operand))
    return layouts[first.name]


def symbol(name: str) -> str:
    """How an argument is written in an equation."""
    return SYMBOLS.get(name, name)
