"""with torch.no_grad(): y = f(x)  →  y = detach(f(x)): what the forward computes without gradients stays so."""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.source import origin_of

__all__ = ["keep_regions_without_grad"]

aten = torch.ops.aten
AUTOCAST = torch.ops.higher_order.wrap_with_autocast
#: Ops that return their input itself where it is of the wanted kind already.
CASTS = (
    aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten.type_as.default,
)  # fmt: skip
REGION = torch.ops.higher_order.wrap_with_set_grad_enabled


def keep_regions_without_grad(program: ExportedProgram) -> None:
    """Detaches every output of a region without gradients; ``run_decompositions`` would only inline the region.

    Raises:
        UntraceableModel: for a region under autocast, of which nothing would remain.
    """
    detach_regions(program.graph_module)


def detach_regions(module: fx.GraphModule) -> None:
    """The regions of one graph, and those within them."""
    for node in module.graph.nodes:
        if node.target is AUTOCAST:
            raise UntraceableModel(
                "the forward computes a part of itself under torch.autocast, which the graph would not show",
                origin=origin_of(node),
                remedy="cast explicitly there: x.to(torch.bfloat16)",
            )
        if node.op != "call_function" or node.target is not REGION:
            continue
        enabled, body = node.args[0], getattr(module, node.args[1].target)
        detach_regions(body)
        if not enabled:
            refuse_writes(body)
            detach_outputs(body)


def refuse_writes(module: fx.GraphModule) -> None:
    """A write, without gradients, to a value from outside changes it behind autograd's back.

    Raises:
        UntraceableModel: naming the line that writes.
    """
    for node in module.graph.nodes:
        if any(base_of(value).op == "placeholder" for value in written_by(node)):
            raise UntraceableModel(
                "the forward writes, without gradients, to a value that has one, or to a parameter",
                origin=origin_of(node),
                remedy="make a new value instead of writing in place; update parameters outside the forward",
            )


def written_by(node: fx.Node) -> list[fx.Node]:
    """The arguments that an op writes to: itself, a tensor given as ``out=``, a list of them."""
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    given = {**{a.name: v for a, v in zip(arguments, node.args, strict=False)}, **node.kwargs}
    written = [given.get(a.name) for a in arguments if a.alias_info is not None and a.alias_info.is_write]
    return [value for value in pytree.tree_leaves(written) if isinstance(value, fx.Node)]


def base_of(node: fx.Node) -> fx.Node:
    """The value of which another is a view."""
    while node.op == "call_function":
        returns = getattr(getattr(node.target, "_schema", None), "returns", ())
        if not returns or returns[0].alias_info is None or not isinstance(node.args[0], fx.Node):
            break
        node = node.args[0]
    return node


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
