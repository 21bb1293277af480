"""Σ_m w_m Σ v_m → ℓ[n] = Σ_m w'_m Σ_s v_m[n,s], with w' = w for a sum over examples and N·w for a mean."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import sympy
import torch
from torch import fx

from clipcompiler.axes.analyse import Analysis
from clipcompiler.axes.layout import EXAMPLES, batch_dim, show
from clipcompiler.axes.scalar_loss import WRITE_LOSSES, Term
from clipcompiler.errors import UnsupportedLoss
from clipcompiler.trace.traced import N, TracedLoss

__all__ = ["example_losses"]

aten = torch.ops.aten


def example_losses(analysis: Analysis, terms: tuple[Term, ...], *, scalar: bool) -> TracedLoss:
    """Appends to the graph the sums within an example, so that its output is the N losses.

    ``scalar`` says that the loss was a scalar whose reductions were taken off.

    Raises:
        UnsupportedLoss: where the loss is no vector of N losses, or is neither a sum nor a mean over examples.
    """
    traced = analysis.traced
    for term in terms:
        refuse_discrete(analysis, term.node)
    if not scalar:
        (term,) = terms
        refuse_wrong_shape(analysis, term.node)
        return with_output(traced, term.node)
    factors = [factor(analysis, term, mean=is_mean(traced, terms)) for term in terms]
    losses = [append_sum(analysis, term.node, f) for term, f in zip(terms, factors, strict=True)]
    total = losses[0]
    for other in losses[1:]:
        total = append(analysis, aten.add.Tensor, (total, other))
    return replace(with_output(traced, total), uncounted=tuple(t.uncounted for t in terms if t.uncounted))


def with_output(traced: TracedLoss, loss: fx.Node) -> TracedLoss:
    """The same graph with one output."""
    for node in [n for n in traced.graph.nodes if n.op == "output"]:
        traced.graph.erase_node(node)
    traced.graph.output((loss,))
    return replace(traced)


def refuse_discrete(analysis: Analysis, node: fx.Node) -> None:
    """A loss is a real number."""
    dtype = node.meta["val"].dtype
    if not dtype.is_floating_point:
        raise UnsupportedLoss(
            f"the loss is of dtype {dtype}: it has no gradient",
            origin=analysis.traced.origin(node),
            remedy="return a real loss",
        )


def refuse_wrong_shape(analysis: Analysis, node: fx.Node) -> None:
    """Only a vector of one loss for each example is a loss."""
    layout, m = analysis.operand(node), analysis.traced.examples_per_unit
    units = "examples" if m == 1 else f"units of {m} examples"
    if layout not in (((EXAMPLES,),), (batch_dim(analysis.traced.examples_per_unit),)):
        raise UnsupportedLoss(
            f"the loss has the shape {show(layout)}, where n stands for the {units}; it must be [n]: "
            f"one loss for each of the {units}" + ("" if m == 1 else f", or [{m}·n]: one for each example"),
            origin=analysis.traced.origin(node),
            remedy="average or sum the dims within an example, as in loss.flatten(1).mean(1)",
        )


def is_mean(traced: TracedLoss, terms: tuple[Term, ...]) -> bool:
    """Whether the weights are those of a mean over examples (∝ 1/N) rather than of a sum."""
    if all(N not in sympy.cancel(t.weight * N).free_symbols for t in terms):
        return True
    if all(N not in t.weight.free_symbols for t in terms):
        return False
    raise UnsupportedLoss(
        "the loss weighs its terms by different powers of the batch size, or adds a sum over examples to a mean",
        origin=traced.origin(terms[0].node),
        remedy=WRITE_LOSSES,
    )


def factor(analysis: Analysis, term: Term, *, mean: bool) -> sympy.Expr:
    """w' of one term, whose value must carry the examples."""
    if EXAMPLES not in [axis for dim in analysis.operand(term.node) for axis in dim]:
        raise UnsupportedLoss(
            "a term of the loss belongs to no example",
            origin=analysis.traced.origin(term.node),
            remedy="leave penalties on parameters to the optimizer (weight_decay)",
        )
    return sympy.cancel(term.weight * N) if mean else term.weight


def append_sum(analysis: Analysis, value: fx.Node, weight: sympy.Expr) -> fx.Node:
    """weight · Σ_s v[n,s]: a mean where weight is 1/S."""
    layout = analysis.operand(value)
    axes = [axis for dim in layout for axis in dim]
    if any(len(dim) > 1 for dim in layout):
        value = append(analysis, aten.view.default, (value, [size_node(analysis, a.size) for a in axes]))
        layout = tuple((axis,) for axis in axes)
    within = [d for d, dim in enumerate(layout) if dim != (EXAMPLES,)]
    count = sympy.prod([axis.size for axis in axes if not axis.examples])
    if within and weight == 1 / count:
        return append(analysis, aten.mean.dim, (value, within))
    if within:
        value = append(analysis, aten.sum.dim_IntList, (value, within))
    if weight != 1:
        value = append(analysis, aten.mul.Tensor, (value, float(weight)))
    return value


def size_node(analysis: Analysis, size: Any) -> Any:
    """A size as an argument: a number, or the node of the number of units."""
    if size != N:
        return int(size)
    whole = append(analysis, aten.sym_size.int, (batch(analysis.traced), 0))
    m = analysis.traced.examples_per_unit
    return whole if m == 1 else append(analysis, operator.floordiv, (whole, m))


def batch(traced: TracedLoss) -> fx.Node:
    """The first input of the batch."""
    found: fx.Node = next(node for node in traced.graph.nodes if node.name == traced.inputs[0])
    return found


def append(analysis: Analysis, op: Any, args: tuple[Any, ...]) -> fx.Node:
    """Adds an op at the end of the graph and analyses it."""
    graph = analysis.traced.graph
    values = fx.map_arg(args, lambda node: node.meta["val"])
    like = next(node for node in fx.map_arg(args, lambda node: node) if isinstance(node, fx.Node))
    with graph.inserting_before(graph.output_node()):
        made: fx.Node = graph.call_function(op, args)
    made.meta = {k: v for k, v in like.meta.items() if k in ("stack_trace", "nn_module_stack")}
    with batch(analysis.traced).meta["val"].fake_mode:
        made.meta["val"] = op(*values)
    analysis.visit(made)
    return made
