"""The placeholders of an exported graph told apart: parameters, buffers, constants, the batch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.traced import Parameter
from clipcompiler.trace.wrap import ModelWithLoss, own_name

__all__ = ["names_of_inputs", "placeholders", "refuse_hidden_parameters"]


def placeholders(
    program: ExportedProgram, module: ModelWithLoss, graph: fx.Graph, names: list[str]
) -> tuple[dict[str, Parameter], dict[str, str], tuple[str, ...]]:
    """Parameters (one placeholder an object, whatever its names), buffers and constants, and inputs of the graph."""
    nodes = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    first: dict[int, tuple[fx.Node, Parameter]] = {}
    buffers: dict[str, str] = {}
    inputs: list[str] = []
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            if isinstance(node.meta.get("val"), Tensor):
                inputs.append(node.name)
        elif spec.kind is InputKind.PARAMETER:
            value, name = module.get_parameter(str(spec.target)), own_name(str(spec.target))
            known = first.setdefault(id(value), (node, Parameter(name, tuple(value.shape), value.requires_grad)))
            if known[0] is not node:
                node.replace_all_uses_with(known[0])
        else:
            buffers[node.name] = own_name(str(spec.target))
    parameters = {node.name if node.users else p.name: p for node, p in first.values()}
    renamed = rename(nodes, inputs, names)
    for path, value in module.named_parameters():
        if id(value) not in first:
            parameters[own_name(path)] = Parameter(own_name(path), tuple(value.shape), value.requires_grad)
    return parameters, buffers, renamed


def refuse_hidden_parameters(program: ExportedProgram, module: ModelWithLoss) -> None:
    """What a gradient would reach although it is no registered parameter, and names that cannot be told apart.

    Raises:
        UntraceableModel: for a buffer computed from parameters, for a view or another name of a trainable parameter
            that is no parameter itself, and for a submodule of the model named loss_fn.
    """
    trainable = {p.untyped_storage().data_ptr(): n for n, p in module.named_parameters() if p.requires_grad}
    for name, value in [*module.named_buffers(), *program.constants.items()]:
        if isinstance(value, Tensor) and (value.requires_grad or value.untyped_storage().data_ptr() in trainable):
            raise UntraceableModel(
                f"{own_name(name)} is no parameter, and yet gradients reach parameters through it",
                remedy="compute it in the forward from the registered parameters, or detach() and clone() it",
            )
    if isinstance(module.loss_fn, nn.Module) and isinstance(getattr(module.model, "loss_fn", None), nn.Module):
        raise UntraceableModel(
            "the model has a submodule named loss_fn, whose parameters could be taken for those of the loss",
            remedy="rename the submodule",
        )


def rename(nodes: dict[str, fx.Node], inputs: list[str], names: list[str]) -> tuple[str, ...]:
    """The inputs under the names that the user's own signatures give them."""
    for old, new in zip(inputs, names, strict=True):
        nodes[old]._rename(new)
    return tuple(nodes[old].name for old in inputs)


def names_of_inputs(model: nn.Module, loss_fn: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """A name for each tensor of the batch: the parameter names of ``model.forward``, ``target``, the keywords."""
    positional = [
        p.name
        for p in inspect.signature(model.forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    count = len(args) - (loss_fn is not None)
    heads = [positional[k] if k < len(positional) else f"input_{k}" for k in range(count)]
    named = [*zip(heads, args, strict=False), *([("target", args[-1])] if loss_fn is not None else [])]
    names: list[str] = []
    for name, value in [*named, *kwargs.items()]:
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        names += [name] if len(tensors) == 1 else [f"{name}_{k}" for k in range(len(tensors))]
    return names
