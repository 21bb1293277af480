"""Sections 1 to 3: parameters, forward with taps, cotangents."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from clipcompiler.codegen.body import Body
from clipcompiler.codegen.calls import call_text
from clipcompiler.derive.derived import Derived
from clipcompiler.derive.references import OperandTap, OutputTap, Tap

__all__ = ["write_cotangents", "write_forward", "write_functions", "write_parameters"]


def write_parameters(body: Body, derived: Derived) -> dict[fx.Node, str]:
    """The placeholders: parameters detached, buffers as they are, the batch by its own names."""
    traced = derived.axes.traced
    values: dict[fx.Node, str] = {}
    body.section("parameters, detached: no weight gradient is computed on the way")
    for node in traced.graph.nodes:
        if node.op != "placeholder" or not node.users:
            continue
        if node.name in traced.inputs:
            values[node] = node.name
        elif (parameter := traced.parameters.get(node.name)) is not None:
            values[node] = body.bind(parameter.name, f'parameters["{parameter.name}"].detach()')
        else:
            name = traced.buffers[node.name]
            values[node] = body.bind(name, f'buffers["{name}"]')
    return values


def write_functions(
    body: Body, derived: Derived, values: dict[fx.Node, str], names: Mapping[fx.Node, str]
) -> dict[fx.Node, str]:
    """The functions of parameters, with a graph of their own from the parameters to their values.

    Returns the variables of that graph; ``values`` get the detached results.
    """
    functions = derived.functions
    if not functions.values:
        return {}
    body.section("functions of parameters, with a graph of their own", "with torch.enable_grad()")
    inner = dict(values)
    for node in functions.parameters:
        inner[node] = body.bind(f"{values[node]}_leaf", f"{values[node]}.detach().requires_grad_()")
    for node in functions.nodes:
        if node in names:
            body.line(f"{names[node]} = {call_text(derived.axes.traced, node, inner)}")
            inner[node] = names[node]
    for node in functions.values:
        values[node] = body.bind(f"{inner[node]}_value", f"{inner[node]}.detach()")
    return inner


def write_forward(body: Body, derived: Derived, values: dict[fx.Node, str], names: Mapping[fx.Node, str]) -> None:
    """Every op in order; the output of an op that uses a parameter is marked as a tap."""
    traced = derived.axes.traced
    body.section("forward", "with torch.enable_grad()")
    taps = set(derived.taps)
    for node in traced.ops():
        if node in values or not node.users or node in derived.functions.nodes:
            continue
        write_op(body, derived, node, values, names, taps)


def write_op(
    body: Body,
    derived: Derived,
    node: fx.Node,
    values: dict[fx.Node, str],
    names: Mapping[fx.Node, str],
    taps: set[Tap],
) -> None:
    """One op, its operand taps before it and its output tap behind it."""
    traced = derived.axes.traced
    operands = dict(values)
    for tap in [t for t in taps if isinstance(t, OperandTap) and t.node is node]:
        source = derived.axes.calls[node].operands[tap.operand]
        sizes = ", ".join(map(str, traced.shape(node)))
        operands[source] = body.bind(
            operand_name(values[source], names[node]), f"{values[source]}.expand({sizes}).requires_grad_()"
        )
    text = call_text(traced, node, operands)
    if text.isidentifier():
        values[node] = text
    else:
        body.line(f"{names[node]} = {text}")
        values[node] = names[node]
    if OutputTap(node) in taps:
        body.line(f"{values[node]}.requires_grad_()")


def operand_name(source: str, op: str) -> str:
    """The name of a parameter repeated for one op."""
    return f"{op}_{source}"


def write_cotangents(body: Body, derived: Derived, values: Mapping[fx.Node, str]) -> dict[Tap, str]:
    """ȳ of every tap, by one backward pass of the sum of the losses."""
    cotangents: dict[Tap, str] = {}
    tapped: list[str] = []
    for tap in derived.taps:
        name = values[tap.node]
        if isinstance(tap, OperandTap):
            name = operand_name(values[derived.axes.calls[tap.node].operands[tap.operand]], name)
        tapped.append(name)
        cotangents[tap] = body.names.fresh(f"{name}_cotangent")
    body.section("cotangents: ∂ Σ_n ℓ_n / ∂ (output of each op that uses a parameter)", "with torch.enable_grad()")
    many = len(tapped) > 1
    left, right = ", ".join(cotangents.values()), ", ".join(tapped)
    if not tapped:
        return cotangents
    body.line(f"{left}{'' if many else ','} = torch.autograd.grad(")
    body.line("    losses.sum(),")
    body.line(f"    ({right}{'' if many else ','}),")
    body.line("    allow_unused=True,")
    body.line("    materialize_grads=True,")
    body.line(")")
    return cotangents
