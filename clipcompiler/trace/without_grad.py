"""with torch.no_grad(): y = f(x)  →  y = detach(f(x)): what the forward computes without gradients stays so."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.source import origin_of

__all__ = ["keep_regions_without_grad"]

aten = torch.ops.aten
#: Ops that return their input itself where it is of the wanted kind already.
CASTS = (
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten.type_as.default,
)  # fmt: skip
REGION = torch.ops.higher_order.wrap_with_set_grad_enabled


def keep_regions_without_grad(program: ExportedProgram) -> None:
    """Detaches every output of a region without gradients; ``run_decompositions`` would only inline the region.

    Raises:
        UntraceableModel: for a write behind autograd's back.
    """
    names = program.graph_signature.inputs_to_buffers
    buffers = {node for node in program.graph.nodes if node.op == "placeholder" and node.name in names}
    detach_regions(program.graph_module, buffers - written_with_grad(program.graph_module))


def written_with_grad(module: fx.GraphModule, *, enabled: bool = True) -> set[fx.Node]:
    """The values that a graph, or a region within it, writes to with gradients enabled."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.target is REGION:
            body = getattr(module, node.args[1].target)
            inside = written_with_grad(body, enabled=node.args[0])
            found |= {base_of(outer) for inner, outer in inputs_of(node, body) if inner in inside}
        elif enabled:
            found |= {base_of(value) for value in written_by(node)}
    return found


def inputs_of(region: fx.Node, body: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """For every placeholder of a region the value it stands for."""
    inputs = (node for node in body.graph.nodes if node.op == "placeholder")
    return list(zip(inputs, region.args[2:], strict=True))  # type: ignore[arg-type]


def detach_regions(module: fx.GraphModule, buffers: set[fx.Node]) -> None:
    """The regions of one graph, and those within them; ``buffers`` are written to without gradients alone."""
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target is not REGION:
            continue
        enabled, body = node.args[0], getattr(module, node.args[1].target)
        inputs = inputs_of(node, body)
        own = {inner for inner, outer in inputs if base_of(outer) in buffers}
        detach_regions(body, own)
        if not enabled:
            if refuse_writes(body, own):
                detach_inputs(body, [inner for inner, _ in inputs])
            detach_outputs(body)


def refuse_writes(module: fx.GraphModule, buffers: set[fx.Node]) -> bool:
    """A write, without gradients, to a value from outside changes it behind autograd's back, unless it is a buffer.

    Returns whether there is a write to a buffer.

    Raises:
        UntraceableModel: naming the line that writes.
    """
    writes = False
    for node in module.graph.nodes:
        outside = {base for value in written_by(node) for base in [base_of(value)] if base.op == "placeholder"}
        writes |= bool(outside)
        if not outside <= buffers:
            raise UntraceableModel(
                "the forward writes, without gradients, to a value that has one, or to a parameter",
                origin=origin_of(node),
                remedy="make a new value instead of writing in place; update parameters outside the forward",
            )
    return writes


def detach_inputs(module: fx.GraphModule, inputs: list[fx.Node]) -> None:
    """f(x) → f(detach(x)) for every input that is only read: what is written to a buffer carries no gradient."""
    written = {base_of(value) for node in module.graph.nodes for value in written_by(node)}
    for node in inputs:
        if node in written or not isinstance(node.meta.get("val"), Tensor):
            continue
        users = list(node.users)
        with module.graph.inserting_after(inputs[-1]):
            made = module.graph.call_function(aten.detach.default, (node,))
        made.meta = dict(node.meta)
        for user in users:
            user.replace_input_with(node, made)


def written_by(node: fx.Node) -> list[fx.Node]:
    """The arguments that an op writes to: itself, a tensor given as ``out=``, a list of them."""
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    given = {**{a.name: v for a, v in zip(arguments, node.args, strict=False)}, **node.kwargs}
    written = [given.get(a.name) for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return [value for value in pytree.tree_leaves(written) if isinstance(value, fx.Node)]


def base_of(node: fx.Node) -> fx.Node:
    """The value of which another is a view, or the very same."""
    while node.op == "call_function":
        before = returned(node) if node.target is operator.getitem else viewed(node)
        if before is None:
            break
        node = before
    return node


def viewed(node: fx.Node) -> fx.Node | None:
    """The operand that an op returns, or a view of it."""
    returns = getattr(getattr(node.target, "_schema", None), "returns", ())
    if not returns or returns[0].alias_info is None:
        return None
    if returns[0].alias_info.is_write and isinstance(node.kwargs.get("out"), fx.Node):
        return node.kwargs["out"]  # type: ignore[return-value]
    return node.args[0] if isinstance(node.args[0], fx.Node) else None


def returned(node: fx.Node) -> fx.Node | None:
    """The value from outside that a region returns, or a view of it."""
    region, place = node.args
    if not isinstance(region, fx.Node) or region.target is not REGION or not isinstance(place, int):
        return None
    body: Any = getattr(node.graph.owning_module, str(region.args[1].target))  # type: ignore[union-attr]
    output = body.graph.output_node().args[0][place]
    outside = dict(inputs_of(region, body))
    return outside.get(base_of(output)) if isinstance(output, fx.Node) else None


def itself(value: fx.Node) -> fx.Node | None:
    """The input that a value of a region is, through casts to the dtype and device it has already: no new tensors."""
    while value.op == "call_function" and value.target in CASTS:
        source = value.args[0]
        assert isinstance(source, fx.Node)
        before, after = source.meta["val"], value.meta["val"]
        if (before.dtype, before.device) != (after.dtype, after.device) or copies(value):
            return None
        value = source
    return value if value.op == "placeholder" else None


def copies(cast: fx.Node) -> bool:
    """Whether a cast was asked for a new tensor, or for another layout in memory."""
    arguments = cast.target._schema.arguments  # type: ignore[union-attr]
    given = {**{a.name: v for a, v in zip(arguments, cast.args, strict=False)}, **cast.kwargs}
    return bool(given.get("copy")) or given.get("memory_format") not in (None, torch.preserve_format)


def detach_outputs(module: fx.GraphModule) -> None:
    """return y → return detach(y), but for what is an input itself, which keeps its gradient"""
    output = module.graph.output_node()

    def detached(value: fx.Node) -> fx.Node:
        if (source := itself(value)) is not None:
            return source
        with module.graph.inserting_before(output):
            made = module.graph.call_function(aten.detach.default, (value,))
        made.meta = dict(value.meta)
        return made

    output.args = fx.map_arg(output.args, detached)
    module.recompile()
