"""module + loss + one batch → TracedLoss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import decomposition_table
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import ExportGraphSignature, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from clipcompiler.errors import CompileError, UnsupportedLoss, UntraceableModel
from clipcompiler.origin import Origin
from clipcompiler.trace.all_rows import to_unbind
from clipcompiler.trace.assumptions import Assumptions, differs
from clipcompiler.trace.autocast import Autocast, regions_noted, regions_repeated
from clipcompiler.trace.batch_norm import refuse_batch_norm
from clipcompiler.trace.batch_of_one import same_for_one
from clipcompiler.trace.computed_once import compute_once
from clipcompiler.trace.decompose import HasRule, decomposed, is_reference_of_loss
from clipcompiler.trace.environment import tracing
from clipcompiler.trace.flow import sources_of
from clipcompiler.trace.lengths import Declared, bounded, lengths_of, shaped
from clipcompiler.trace.looked_at_again import refuse_updates_of_recurrent_weights
from clipcompiler.trace.placeholders import names_of_inputs, placeholders, refuse_hidden_parameters
from clipcompiler.trace.rewrites import rewrite
from clipcompiler.trace.source import line_of_traceback
from clipcompiler.trace.traced import N, TracedLoss
from clipcompiler.trace.without_grad import keep_regions_without_grad
from clipcompiler.trace.wrap import ModelWithLoss, own_name

__all__ = ["trace"]

aten = torch.ops.aten


def trace(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | None,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    examples_per_unit: int = 1,
    has_rule: HasRule | None = None,
    dynamic: Declared | None = None,
) -> TracedLoss:
    """Exports the loss of a batch with a dynamic batch size, as functional ATen ops.

    The batch size is N units of ``examples_per_unit`` examples. Ops that read the batch and for which ``has_rule`` is
    false are decomposed as far as torch can. ``dynamic`` names the dims of inputs whose sizes are lengths.

    ``args`` are the inputs, then the target; every tensor in ``args`` and ``kwargs`` has the examples along
    its first dim. Their values are not looked at, and their batch size (0 and 1 included) leaves no trace.

    Where the graph holds for some batch sizes only, it bears the refusal, so that a reason found in the graph itself
    goes first.

    Raises:
        UntraceableModel: where ``torch.export`` cannot express the model as a graph.
    """
    module = ModelWithLoss(model, loss_fn)
    batch = (tuple(args), dict(kwargs or {}))
    names = names_of_inputs(model, loss_fn, args, dict(kwargs or {}))
    lengths = dynamic or {}
    examples = Dim("N") if examples_per_unit == 1 else examples_per_unit * Dim("units")
    try:
        program, literals, refusal, for_more_than_one = exported(
            module, *shaped(batch, names, lengths, examples, examples_per_unit), has_rule
        )
        traced = told_apart(program, module, names, batch, lengths)
        if for_more_than_one is not None and refusal is None:
            refusal = for_more_than_one
            if examples_per_unit == 1:
                alone, *_ = exported(module, *shaped(batch, names, lengths, None), has_rule)
                for_one = told_apart(alone, module, names, batch, lengths, alone=True)
                refusal = None if same_for_one(traced, for_one) else refusal
    except CompileError:
        raise
    except Exception as error:
        refuse_batch_norm(error)
        raise untraceable(error) from error
    traced = replace(traced, examples_per_unit=examples_per_unit, literals=literals, refusal=refusal)
    return replace(traced, autocast=Autocast.now())


def exported(
    module: ModelWithLoss, batch: Any, own: list[dict[int, Any] | None], has_rule: HasRule | None = None
) -> tuple[ExportedProgram, frozenset[str], CompileError | None, CompileError | None]:
    """``torch.export`` with a symbol for the batch size, then made functional, composite ops with a rule kept whole.

    Beside it the names of the constants that the forward makes from literals, the refusal of a program that holds
    for some batch sizes only, and that of one which is yet to be proven for a batch of one.
    """
    found = iter(own)
    dims = pytree.tree_map(lambda leaf: next(found) if isinstance(leaf, Tensor) else None, batch)
    with tracing(module) as assumptions:
        try:
            with regions_noted():
                program, refusal = exported_at_once_or_deferred(module, batch, dims, assumptions)
        except UserError as error:
            raise for_some_sizes(error, assumptions) from error
        keep_regions_without_grad(program)
        literals = literals_of(program)
        with without_mistaken_references(), Autocast.now().applied(), regions_repeated():
            functional: ExportedProgram = program.run_decompositions({})
            if has_rule is not None:
                functional = decomposed(functional, has_rule, assumptions)
    return functional, literals, refusal, assumptions.for_more_than_one


def literals_of(program: ExportedProgram) -> frozenset[str]:
    """The constants that the forward makes anew at each call, as ``torch.tensor([…])``: no one else holds them."""
    nodes = {node.name: node for node in program.graph.nodes}
    made = (aten.lift_fresh_copy.default, aten.lift_fresh.default)
    return frozenset(
        own_name(spec.target)
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.CONSTANT_TENSOR
        and spec.target is not None
        and all(user.target in made for user in nodes[spec.arg.name].users)
    )


def exported_at_once_or_deferred(
    module: ModelWithLoss, batch: Any, dims: Any, assumptions: Assumptions
) -> tuple[ExportedProgram, UntraceableModel | None]:
    """``torch.export``; where a condition on the batch size cannot be decided, once more with all of them deferred."""
    try:
        return export(module, batch, dynamic_shapes=dims, strict=False), None
    except UserError as error:
        if "satisfy the generated guard" not in str(error):
            raise
    program = export(module, batch, dynamic_shapes=dims, strict=False, prefer_deferred_runtime_asserts_over_guards=True)
    return program, refusal_of_conditions(program, assumptions)


def for_some_sizes(error: UserError, assumptions: Assumptions) -> UntraceableModel:
    """The refusal of a model that torch can trace for the traced batch size alone."""
    if "onstraint" not in str(error):
        return untraceable(error)
    return UntraceableModel(
        "an op or a loop here works only for some batch sizes, or runs once for every example",
        origin=assumptions.origin(),
        remedy="keep the examples the first dim: a recurrent layer over time takes batch_first=True, a loop the dim "
        "of time; take the batch size as x.shape[0] (not len(x)), or -1 in a view",
    )


def refusal_of_conditions(program: ExportedProgram, assumptions: Assumptions) -> UntraceableModel | None:
    """The conditions on sizes that torch could not decide must hold for every batch size; a refusal otherwise."""
    values = (node.meta.get("val") for node in program.graph.nodes)
    sizes: Iterator[Any] = (size for value in values if isinstance(value, Tensor) for size in value.shape)
    environments = {id(e): e for s in sizes if isinstance(s, torch.SymInt) for e in [s.node.shape_env]}
    for environment in environments.values():
        deferred = [a.expr for asserts in environment.deferred_runtime_asserts.values() for a in asserts]
        for condition in deferred + [guard.expr for guard in environment.guards]:
            if differs(condition, True):
                named = condition.xreplace(dict.fromkeys(condition.free_symbols, N))
                return UntraceableModel(
                    f"the model works only for batch sizes N with {named}",
                    origin=assumptions.origin(condition),
                    remedy="keep the examples a dim of their own; take the batch size as x.shape[0], or -1 in a view",
                )
    return None


@contextmanager
def without_mistaken_references() -> Iterator[None]:
    """Hides torch's references of losses whose parameters are not those of the op.

    Where the op of ``nll_loss`` takes ``reduction`` as its fourth argument, the reference takes ``size_average``;
    others expect the reduction as a word. Shapes would come out as of a mean, or calls fail.
    """
    hidden: dict[Any, Any] = {op: f for op, f in decomposition_table.items() if is_reference_of_loss(op, f)}
    for op in hidden:
        del decomposition_table[op]
    try:
        yield
    finally:
        decomposition_table.update(hidden)


def told_apart(
    program: ExportedProgram,
    module: ModelWithLoss,
    names: list[str],
    batch: Any,
    lengths: Declared,
    *,
    alone: bool = False,
) -> TracedLoss:
    """The exported graph, with placeholders named by what they are and dead code removed."""
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    graph.graph_copy(program.graph, copies)
    outputs = program.graph.output_node().args[0]
    signature = program.graph_signature
    refuse_writes(signature)
    values = dict(zip((s.arg.name for s in signature.output_specs), outputs, strict=True))
    returned = [s.arg for s in signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    if len(returned) != 1 or not isinstance(returned[0], TensorArgument):
        raise UnsupportedLoss(
            f"the loss is {'no tensor' if len(returned) == 1 else f'{len(returned)} values'}; it must be one tensor",
            remedy="return one tensor of one loss for each example",
        )
    loss = values[returned[0].name]
    graph.output((copies[loss],))
    rewrite(graph)
    refuse_hidden_parameters(program, module)
    parameters, buffers, inputs = placeholders(program, module, graph, names)
    compute_once(graph, parameters, inputs)
    to_unbind(graph, parameters, inputs)
    constants = {own_name(name): value for name, value in program.constants.items()}
    updates = {own_name(b): copies[values[name]] for name, b in signature.buffers_to_mutate.items()}
    refuse_updates_of_recurrent_weights(module, updates)
    tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    symbol = batch_symbol(graph, inputs, alone=alone)
    values_of = {node.name: node.meta["val"] for node in graph.nodes if node.op == "placeholder"}
    placed = [values_of[name] for name in inputs]
    traced = TracedLoss(
        graph,
        type(module.model).__name__,
        parameters,
        buffers,
        inputs,
        updates,
        symbol,
        constants,
        lengths=bounded(lengths_of(names, lengths, tensors, placed), placed, symbol),
    )
    for node in graph.nodes if lengths else ():
        if isinstance(node.meta.get("val"), Tensor):
            node.meta["sizes"] = traced.shape(node)
    reach(graph, [*updates.values()])
    return traced


def refuse_writes(signature: ExportGraphSignature) -> None:
    """Raises where the forward writes to an input or to a parameter."""
    if signature.user_inputs_to_mutate:
        changed = ", ".join(sorted(set(signature.user_inputs_to_mutate.values())))
        raise UntraceableModel(
            f"the model changes its input {changed} in place",
            remedy="work on a copy: x = x.clone(), or use the op without the underscore",
        )
    if any(s.kind.name == "PARAMETER_MUTATION" for s in signature.output_specs):
        raise UntraceableModel(
            "the model writes to a parameter in its forward", remedy="update parameters outside the forward"
        )


def reach(graph: fx.Graph, kept: list[fx.Node]) -> None:
    """Removes what neither the loss nor a buffer update is computed from; placeholders stay."""
    alive = sources_of([graph.output_node(), *kept])
    for node in reversed(graph.nodes):
        if node not in alive and node.op != "placeholder":
            graph.erase_node(node)


def batch_symbol(graph: fx.Graph, inputs: tuple[str, ...], *, alone: bool = False) -> Any:
    """The symbol that stands for the batch size in the exported shapes; N where they are those of a batch of one."""
    node = next(n for n in graph.nodes if n.name == inputs[0])
    size = node.meta["val"].shape[0]
    if alone and isinstance(size, int):
        return N
    symbols = size.node.expr.free_symbols if isinstance(size, torch.SymInt) else ()
    if len(symbols) != 1:
        raise UntraceableModel(
            f"the model fixes the batch size to {size}",
            remedy="take the batch size from the input: x.shape[0], or -1 in a view",
        )
    return next(iter(symbols))


def untraceable(error: Exception) -> UntraceableModel:
    """The refusal for what ``torch.export`` said."""
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    remedy = "make the forward one graph of torch ops: no branch on the values of tensors, no .item(), no numpy"
    if "DataDependent" in text:
        remedy = "a Python branch or number depends on the values of a tensor: use torch.where, or a mask"
    elif "onstraint" in text or "specializ" in str(error):
        text = "the model works for one batch size only: " + text
        remedy = "take the batch size as x.shape[0] (not len(x)), or -1 in a view"
    elif isinstance(error, TypeError):
        remedy = "call step(inputs, target) as the model and the loss take them; keyword arguments go to the model"
    file, line, code = line_of_traceback(error.__traceback__)
    origin = Origin("torch.export", "", file, line, code) if file else None
    return UntraceableModel(f"torch.export cannot trace the model: {text}", origin=origin, remedy=remedy)
