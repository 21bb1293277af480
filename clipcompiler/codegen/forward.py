"""Sections 1 to 3: parameters, forward with taps, cotangents."""

from __future__ import annotations

from collections.abc import Container, Mapping

import sympy
import torch
from torch import fx

from clipcompiler.codegen.body import Body, Part
from clipcompiler.codegen.calls import call_text, literal, quoted
from clipcompiler.codegen.helpers import COUNT_ALL
from clipcompiler.codegen.laid import cast
from clipcompiler.codegen.statistics import Statistics, with_statistics
from clipcompiler.derive.derived import Derived, Functions
from clipcompiler.derive.references import InsideTap, OperandTap, OutputTap, Tap
from clipcompiler.trace.traced import N, TracedLoss, is_size

#: Constants of at most this many elements stand in the program itself.
LITERAL = 4096

__all__ = ["write_cotangents", "write_forward", "write_functions", "write_parameters"]


def write_parameters(
    body: Body, derived: Derived, inputs: Mapping[str, str], leaves: Container[fx.Node] = ()
) -> dict[fx.Node, str]:
    """The placeholders: parameters detached, buffers as they are, the batch by its own names.

    ``leaves`` are the parameters whose gradients a second backward pass computes.
    """
    traced = derived.axes.traced
    values: dict[fx.Node, str] = {}
    what = "detached: no weight gradient is computed on the way" if not leaves else "leaves of a graph of this step"
    body.section(f"parameters, {what}", part=Part.ONCE)
    for node in traced.graph.nodes:
        if node.op != "placeholder" or not node.users:
            continue
        if node.name in traced.inputs:
            values[node] = inputs[node.name]
        elif (parameter := traced.parameters.get(node.name)) is not None:
            asked = ".requires_grad_()" if node in leaves else ""
            values[node] = body.bind(parameter.name, f"parameters[{quoted(parameter.name)}].detach(){asked}")
        else:
            values[node] = body.bind(traced.buffers[node.name], buffer_text(traced, traced.buffers[node.name]))
    return values


def buffer_text(traced: TracedLoss, name: str) -> str:
    """A buffer of the model, or a small constant that the forward makes, as a literal."""
    constant = traced.constants.get(name)
    if constant is None or name not in traced.literals or constant.numel() > LITERAL:
        return f"buffers[{quoted(name)}]"
    return f'torch.tensor({literal(constant.tolist())}, dtype={constant.dtype}, device="{constant.device}")'


def write_functions(
    body: Body,
    derived: Derived,
    values: dict[fx.Node, str],
    names: Mapping[fx.Node, str],
    dtype: torch.dtype,
    leaves: Container[fx.Node] = (),
) -> dict[fx.Node, str]:
    """The functions of parameters, with a graph of their own from the parameters to their values.

    Returns the variables of that graph; ``values`` get the detached results, or those with their graph where a second
    backward pass goes through it to ``leaves``. What only moves elements is done in ``dtype``, in which its clipped
    sums are pulled back.
    """
    functions = derived.functions
    if not functions.values:
        return {}
    body.section("functions of parameters, with a graph of their own", "with torch.enable_grad()", Part.ONCE)
    inner = dict(values)
    for node in functions.parameters:
        if node in leaves:
            wide = cast(values[node], node.meta["val"].dtype, functions.dtype(node, dtype))
            inner[node] = body.bind(f"{values[node]}_wide", wide)
            continue
        wide = cast(f"{values[node]}.detach()", node.meta["val"].dtype, functions.dtype(node, dtype))
        inner[node] = body.bind(f"{values[node]}_leaf", f"{wide}.requires_grad_()")
    for node in functions.nodes:
        if node in names and node not in inner:
            body.line(f"{names[node]} = {call_text(derived.axes.traced, node, inner)}")
            inner[node] = names[node]
    own = [n for n in functions.nodes if n in names and n not in values]
    for node in own:
        if any(user not in functions.nodes for user in node.users):
            cut = "" if leaves else ".detach()"
            values[node] = body.bind(f"{inner[node]}_value", value_of(node, inner[node], functions, dtype, cut))
    return inner


def value_of(node: fx.Node, name: str, functions: Functions, dtype: torch.dtype, cut: str) -> str:
    """The value of a function in its own dtype; without its graph where ``cut`` detaches it."""
    value = node.meta["val"]
    if isinstance(value, (list, tuple)):
        own = value[0].dtype
        return f"[{cast(f'part{cut}', functions.dtype(node, dtype), own)} for part in {name}]"
    return cast(f"{name}{cut}", functions.dtype(node, dtype), value.dtype)


def write_forward(
    body: Body,
    derived: Derived,
    values: dict[fx.Node, str],
    names: Mapping[fx.Node, str],
    statistics: Mapping[fx.Node, Statistics],
    leaves: Container[fx.Node] = (),
) -> dict[Tap, str]:
    """Every op in order; the output of an op that uses a parameter is marked as a tap. Returns the taps' variables.

    What no example changes is computed once, but for what lies behind one of the ``leaves``: the second backward pass
    of every chunk goes through it.
    """
    traced = derived.axes.traced
    taps: dict[Tap, str] = {}
    run = [n for n in traced.ops() if n not in values and n.users and n not in derived.functions.nodes]
    each_time = changing(derived, leaves)
    body.section("values that no example changes", "with torch.no_grad()", Part.ONCE)
    for node in run:
        if node not in each_time:
            write_op(body, derived, node, values, names, taps, statistics)
    body.section("forward", "with torch.enable_grad()")
    for node in run:
        if node not in values:
            write_op(body, derived, node, values, names, taps, statistics)
    for target, ignored in traced.uncounted:
        body.line(f"{COUNT_ALL}({values[target]}, {ignored})")
    return taps


def changing(derived: Derived, leaves: Container[fx.Node]) -> set[fx.Node]:
    """What is computed for every chunk: what carries examples or has N of something, the leaves, and what reads these.

    A value may read examples and carry none: ``x.new_ones(3)``.
    """
    traced = derived.axes.traced
    found: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if is_size(node):
            grows = N in sympy.sympify(traced.extent(node)).free_symbols
        else:
            grows = node.name in traced.inputs or derived.axes.carries(node) or node in leaves
            grows = grows or not found.isdisjoint(node.all_input_nodes)
        if grows:
            found.add(node)
    return found


def write_op(
    body: Body,
    derived: Derived,
    node: fx.Node,
    values: dict[fx.Node, str],
    names: Mapping[fx.Node, str],
    taps: dict[Tap, str],
    statistics: Mapping[fx.Node, Statistics],
) -> None:
    """One op, its operand taps before it and its output tap behind it; of a layer norm also its ``statistics``."""
    traced = derived.axes.traced
    repeated: dict[str, str] = {}
    for tap in derived.taps:
        if isinstance(tap, OperandTap) and tap.node is node:
            source = values[derived.axes.calls[node].operands[tap.operand]]
            name = taps[tap] = repeated[tap.operand] = body.names.fresh(f"{names[node]}_{source}")
            sizes = ", ".join(map(str, traced.shape(node)))
            body.line(f"{name} = {source}.expand({sizes}).requires_grad_()")
        elif isinstance(tap, InsideTap) and tap.node is node:
            name = taps[tap] = repeated[tap.operand] = body.names.fresh(f"{names[node]}_{tap.operand}")
            operands = derived.axes.calls[node].operands.values()
            like = next(values[o] for o in operands if o.meta["val"].is_floating_point())
            sizes = ", ".join(map(str, tap.shape))
            body.line(f"{name} = {like}.new_zeros(()).expand({sizes}).requires_grad_()")
    text = call_text(traced, node, values, repeated)
    tap = OutputTap(node)
    if text.isidentifier() and tap not in derived.taps:
        values[node] = text
        return
    if node in statistics:
        body.line(f"{', '.join((names[node], *statistics[node]))} = {with_statistics(node, values)}")
    else:
        body.line(f"{names[node]} = {text}")
    values[node] = names[node]
    if tap in derived.taps:
        body.line(f"{values[node]}.requires_grad_()")
        taps[tap] = values[node]


def write_cotangents(body: Body, taps: Mapping[Tap, str], *, again: bool = False) -> dict[Tap, str]:
    """ȳ of every tap, by one backward pass of the sum of the losses; ``again`` keeps the graph for a second one."""
    cotangents = {tap: body.names.fresh(f"{name}_cotangent") for tap, name in taps.items()}
    body.section("cotangents: ∂ Σ_n ℓ_n / ∂ (output of each op that uses a parameter)", "with torch.enable_grad()")
    if not taps:
        return cotangents
    comma = "" if len(taps) > 1 else ","
    body.line(f"{', '.join(cotangents.values())}{comma} = torch.autograd.grad(")
    body.line("    losses.sum(),")
    body.line(f"    ({', '.join(taps.values())}{comma}),")
    if again:
        body.line("    retain_graph=True,")
    body.line("    allow_unused=True,")
    body.line("    materialize_grads=True,")
    body.line(")")
    return cotangents
