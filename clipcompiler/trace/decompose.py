"""An op without a rule → the ops that torch composes it of, again and again, until each has a rule or no parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import decomposition_table
from torch._export.utils import _get_decomp_for_cia, _is_preservable_cia_op
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from clipcompiler.errors import CompileError
from clipcompiler.trace import embedding_bag, normal_form, recurrent
from clipcompiler.trace.assumptions import Assumptions, differs
from clipcompiler.trace.flow import users_of
from clipcompiler.trace.random_ops import draws
from clipcompiler.trace.same_function import same_function

__all__ = ["HasRule", "decomposed", "is_reference_of_loss"]

#: From an op of the graph to whether a rule speaks of it.
HasRule = Callable[[Any], bool]
#: What passes after this one write in ops that have rules.
REWRITTEN = {*normal_form.REWRITTEN, *recurrent.REWRITTEN, *embedding_bag.REWRITTEN}


def decomposed(program: ExportedProgram, has_rule: HasRule, assumptions: Assumptions) -> ExportedProgram:
    """Replaces the ops that read the batch and have no rule by their parts, as far as torch knows these.

    Every part keeps the source line and module path of its op. A program in which torch would have to know the batch
    size is left as it was, for its ops to be refused by name.
    """
    table: dict[Any, Callable[..., Any]] = {}
    while found := {op: f for op, f in decompositions(program, has_rule).items() if op not in table}:
        table |= found
        seen = {*assumptions.seen}
        try:
            made = program.run_decompositions({**table})
        except CompileError:
            raise
        except Exception:  # parts that torch cannot trace are none: the ops are refused by name
            return program
        if any(differs(c, value, least=2) for c, (value, _) in assumptions.seen.items() if c not in seen):
            return program
        name_wholes(program, made, table)
        program = made
    return program


def name_wholes(before: ExportedProgram, after: ExportedProgram, table: Mapping[Any, Any]) -> None:
    """Notes on every part the op that it is a part of, for messages."""
    nodes = {node.name: node for node in before.graph.nodes}
    for node in after.graph.nodes:
        source = next(iter(node.meta.get("from_node") or ()), None)
        whole = nodes.get(source.name) if source is not None else None
        if whole is not None and node.op == "call_function":
            own = str(whole.target) if whole.target in table else ""
            node.meta["part_of"] = whole.meta.get("part_of") or own


def decompositions(program: ExportedProgram, has_rule: HasRule) -> dict[Any, Callable[..., Any]]:
    """The ops of a program that read the batch and have no rule, each with what all its calls are composed of."""
    found: dict[Any, list[Callable[..., Any] | None]] = {}
    for node in reading_batch(program):
        if not has_rule(node.target):
            found.setdefault(node.target, []).append(decomposition(node))
    return {op: parts[0] for op, parts in found.items() if parts[0] is not None and None not in parts}


def reading_batch(program: ExportedProgram) -> list[fx.Node]:
    """The ops that compute a tensor from an input, or one with a dim of the batch size."""
    own = {s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT}
    reached = users_of(node for node in program.graph.nodes if node.name in own)
    return [
        node
        for node in program.graph.nodes
        for tensors in [[leaf for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]]
        if isinstance(node.target, OpOverload) and tensors and (node in reached or any(map(has_symbol, tensors)))
    ]


def has_symbol(tensor: Tensor) -> bool:
    """Whether an extent depends on the batch size."""
    return any(isinstance(size, torch.SymInt) for size in tensor.shape)


def decomposition(node: fx.Node) -> Callable[..., Any] | None:
    """What torch composes an op of, if that is the same function with the same gradient.

    What an op is composed of in eager mode is by definition. Another way to write it is tried on random tensors: a
    reference of torch may be mistaken, and an op may have a gradient of its own. A random op would draw otherwise.
    """
    op: Any = node.target
    if draws(node) or op in REWRITTEN or "batch_norm" in op._schema.name:
        return None
    if _is_preservable_cia_op(op):
        composed: Callable[..., Any] = _get_decomp_for_cia(op)
        return composed
    written: Callable[..., Any] | None = decomposition_table.get(op)
    if written is None or is_reference_of_loss(op, written) or not same_function(node, written):
        return None
    return written


def is_reference_of_loss(op: Any, function: Any) -> bool:
    """Whether a decomposition is torch's Python reference of a loss with a reduction."""
    arguments = getattr(getattr(op, "_schema", None), "arguments", [])
    reduces = any(a.name == "reduction" for a in arguments)
    return reduces and getattr(function, "__module__", "").startswith("torch._refs")
