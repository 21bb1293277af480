"""module + loss + one batch → TracedLoss."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import decomposition_table
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from clipcompiler.errors import CompileError, UntraceableModel
from clipcompiler.origin import Origin
from clipcompiler.trace.flow import sources_of
from clipcompiler.trace.normal_form import to_normal_form
from clipcompiler.trace.source import line_of_traceback
from clipcompiler.trace.traced import Parameter, TracedLoss
from clipcompiler.trace.wrap import ModelWithLoss, WithoutValueChecks

__all__ = ["trace"]

aten = torch.ops.aten


def trace(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
) -> TracedLoss:
    """Exports the loss of a batch with a dynamic batch size, as functional ATen ops.

    ``args`` are the inputs, then the target; every tensor in ``args`` and ``kwargs`` has the examples along
    its first dim. Their values are not looked at, and their batch size (0 and 1 included) leaves no trace.

    Raises:
        UntraceableModel: where ``torch.export`` cannot express the model for every batch size.
    """
    module = ModelWithLoss(model, loss_fn)
    batch = example_batch((tuple(args), dict(kwargs or {})))
    try:
        program = exported(module, batch)
    except CompileError:
        raise
    except Exception as error:
        raise untraceable(error) from error
    return told_apart(program, module, names_of_inputs(model, loss_fn, args, dict(kwargs or {})))


def example_batch(batch: Any) -> Any:
    """The same batch with another number of examples: a prime that no dim of it has, so that no dim is taken for it."""
    leaves = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    sizes = {size for leaf in leaves for size in leaf.shape[1:]}
    number = next(p for p in (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47) if p not in sizes)
    return pytree.tree_map_only(Tensor, lambda t: t.new_empty((number, *t.shape[1:])), batch)


def exported(module: ModelWithLoss, batch: Any) -> ExportedProgram:
    """``torch.export`` with one symbol for the batch size, then made functional, composite ops kept whole."""
    examples = Dim("N")
    dims = pytree.tree_map(lambda leaf: {0: examples} if isinstance(leaf, Tensor) else None, batch)
    with warnings.catch_warnings(), torch.enable_grad(), WithoutValueChecks():
        warnings.simplefilter("ignore")
        program = export(module, batch, dynamic_shapes=dims, strict=False)
        with without_mistaken_reference():
            functional: ExportedProgram = program.run_decompositions({})
    return functional


@contextmanager
def without_mistaken_reference() -> Iterator[None]:
    """Hides torch's reference of ``aten.nll_loss``, whose fourth parameter is not the op's.

    The op's is ``reduction``, the reference's ``size_average``: shapes come out as of a mean.
    """
    ops = (aten.nll_loss.default, aten.nll_loss.out)
    hidden: dict[Any, Any] = {op: decomposition_table.pop(op) for op in ops if op in decomposition_table}
    try:
        yield
    finally:
        decomposition_table.update(hidden)


def told_apart(program: ExportedProgram, module: ModelWithLoss, names: list[str]) -> TracedLoss:
    """The exported graph, with placeholders named by what they are and dead code removed."""
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    graph.graph_copy(program.graph, copies)
    outputs = program.graph.output_node().args[0]
    signature = program.graph_signature
    if signature.user_inputs_to_mutate:
        changed = ", ".join(sorted(set(signature.user_inputs_to_mutate.values())))
        raise UntraceableModel(
            f"the model changes its input {changed} in place",
            remedy="work on a copy: x = x.clone(), or use the op without the underscore",
        )
    values = dict(zip((s.arg.name for s in signature.output_specs), outputs, strict=True))
    loss = values[signature.user_outputs[0]]
    graph.output((copies[loss],))
    to_normal_form(graph)
    parameters, buffers, inputs = placeholders(program, module, graph, names)
    updates = {b: copies[values[name]] for name, b in signature.buffers_to_mutate.items()}
    traced = TracedLoss(
        graph,
        type(module.model).__name__,
        parameters,
        buffers,
        inputs,
        updates,
        batch_symbol(graph, inputs),
        program.constants,
    )
    reach(graph, [*updates.values()])
    return traced


def reach(graph: fx.Graph, kept: list[fx.Node]) -> None:
    """Removes what neither the loss nor a buffer update is computed from; placeholders stay."""
    alive = sources_of([graph.output_node(), *kept])
    for node in reversed(graph.nodes):
        if node not in alive and node.op != "placeholder":
            graph.erase_node(node)


def placeholders(
    program: ExportedProgram, module: ModelWithLoss, graph: fx.Graph, names: list[str]
) -> tuple[dict[str, Parameter], dict[str, str], tuple[str, ...]]:
    """Parameters (one placeholder an object, whatever its names), buffers and inputs of the graph."""
    nodes = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    first: dict[int, fx.Node] = {}
    parameters: dict[str, Parameter] = {}
    buffers: dict[str, str] = {}
    inputs: list[str] = []
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            if "val" in node.meta and isinstance(node.meta["val"], Tensor):
                inputs.append(node.name)
        elif spec.kind is InputKind.PARAMETER:
            value = module.get_parameter(str(spec.target))
            known = first.setdefault(id(value), node)
            if known is not node:
                node.replace_all_uses_with(known)
            else:
                name = str(spec.target).removeprefix("model.")
                parameters[node.name] = Parameter(name, tuple(value.shape), value.requires_grad)
        else:
            buffers[node.name] = str(spec.target).removeprefix("model.")
    renamed = rename(graph, inputs, names)
    reached = {p for p, q in parameters.items() if nodes[p].users}
    parameters = {(p if p in reached else q.name): q for p, q in parameters.items()}
    seen = set(first)
    for name, value in module.model.named_parameters():
        if id(value) not in seen:
            parameters[name] = Parameter(name, tuple(value.shape), value.requires_grad)
    return parameters, buffers, renamed


def rename(graph: fx.Graph, inputs: list[str], names: list[str]) -> tuple[str, ...]:
    """The inputs under the names that the user's own signatures give them."""
    nodes = {n.name: n for n in graph.nodes if n.op == "placeholder"}
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


def batch_symbol(graph: fx.Graph, inputs: tuple[str, ...]) -> Any:
    """The symbol that stands for the batch size in the exported shapes."""
    node = next(n for n in graph.nodes if n.name == inputs[0])
    size = node.meta["val"].shape[0]
    if not isinstance(size, torch.SymInt) or not size.node.expr.is_Symbol:
        raise UntraceableModel(
            f"the model fixes the batch size to {size}",
            remedy="take the batch size from the input: x.shape[0], or -1 in a view",
        )
    return size.node.expr


def untraceable(error: Exception) -> UntraceableModel:
    """The refusal for what ``torch.export`` said."""
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    remedy = "make the forward one graph of torch ops: no branch on the values of tensors, no .item(), no numpy"
    if "DataDependent" in text:
        remedy = "a Python branch or number depends on the values of a tensor: use torch.where, or a mask"
    elif "onstraint" in text or "specializ" in str(error):
        text = "the model works for one batch size only: " + text
        remedy = "take the batch size from the input: x.shape[0], or -1 in a view"
    file, line, code = line_of_traceback(error.__traceback__)
    origin = Origin("torch.export", "", file, line, code) if file else None
    return UntraceableModel(f"torch.export cannot trace the model: {text}", origin=origin, remedy=remedy)
