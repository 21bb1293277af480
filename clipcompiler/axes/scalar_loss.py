"""Σ_m w_m Σ v_m → the values v_m before their reduction, and the weights w_m; or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sympy
import torch
from torch import Tensor, fx

from clipcompiler.axes.remedies import TOKENS
from clipcompiler.errors import UnsupportedLoss
from clipcompiler.trace.export import without_mistaken_references
from clipcompiler.trace.flow import sources_of
from clipcompiler.trace.path import short_name
from clipcompiler.trace.source import op_name
from clipcompiler.trace.traced import N, TracedLoss

__all__ = ["WRITE_LOSSES", "Term", "open_reduction"]

aten = torch.ops.aten
MEAN = 1
#: The value of a target that torch's losses leave out unless another is named.
IGNORED = -100
#: Ops that a scalar passes through unchanged.
SAME_ELEMENTS = (
    aten.clone.default, aten.alias.default, aten.view.default, aten.reshape.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.unsqueeze.default,
)  # fmt: skip
WRITE_LOSSES = "return one loss for each example: reduction='none', then the mean over the dims within an example"


@dataclass(frozen=True, slots=True)
class Term:
    """weight · Σ over every element of a value.

    Attributes:
        node: the value before its reduction.
        weight: an expression in N.
        uncounted: a target and the value of it that the mean leaves out, if that depends on the batch.
    """

    node: fx.Node
    weight: sympy.Expr
    uncounted: tuple[fx.Node, int] | None = None


def open_reduction(traced: TracedLoss) -> tuple[TracedLoss, tuple[Term, ...]]:
    """Σ_m w_m Σ v_m → the values v_m before their reduction, and the weights w_m.

    A loss that is no scalar is left as it is: one term of weight 1.

    Raises:
        UnsupportedLoss: where the scalar is not a weighted sum of plain sums and means.
    """
    loss = traced.loss
    if traced.shape(loss) != ():
        return traced, (Term(loss, sympy.Integer(1)),)
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    graph.graph_copy(traced.graph, copies)
    opened = replace(traced, graph=graph, updates={b: copies[n] for b, n in traced.updates.items()})
    terms = tuple(Opener(opened).terms(copies[traced.loss], sympy.Integer(1)))
    graph.output(tuple(term.node for term in terms))
    alive = sources_of([*(term.node for term in terms), *opened.updates.values()])
    for node in reversed(graph.nodes):
        if node.op == "call_function" and node not in alive:
            graph.erase_node(node)
    return opened, terms


class Opener:
    """Walks back from a scalar through sums, differences and factors to the reductions."""

    def __init__(self, traced: TracedLoss) -> None:
        self.traced = traced

    def terms(self, node: fx.Node, weight: sympy.Expr) -> list[Term]:
        """weight · node as a sum of terms."""
        target = node.target
        if target in (aten.add.Tensor, aten.sub.Tensor) and len(node.args) == 2:
            sign = 1 if target is aten.add.Tensor else -1
            scale = sign * node.kwargs.get("alpha", 1)  # type: ignore[operator]
            return self.operand(node, 0, weight) + self.operand(node, 1, weight * scale)
        if target in (aten.mul.Tensor, aten.div.Tensor):
            return self.scaled(node, weight)
        if target is aten.neg.default:
            return self.operand(node, 0, -weight)
        if target in SAME_ELEMENTS:
            return self.operand(node, 0, weight)
        return [self.reduction(node, weight)]

    def operand(self, node: fx.Node, place: int, weight: sympy.Expr) -> list[Term]:
        """The terms of one operand, which must be a scalar too."""
        value = node.args[place]
        if isinstance(value, (int, float)) and value == 0:
            return []
        if not isinstance(value, fx.Node) or self.count(value) != 1:
            raise self.refusal(node)
        return self.terms(value, weight)

    def scaled(self, node: fx.Node, weight: sympy.Expr) -> list[Term]:
        """A product with a number, or a quotient by one (the batch size among them)."""
        number = self.traced.extent(node.args[1])
        if isinstance(number, Tensor) and node.target is aten.div.Tensor:
            raise self.refusal(node, "one sum over the batch is divided by another value of it", TOKENS)
        if not isinstance(number, (int, float, sympy.Expr)):
            raise self.refusal(node)
        factor = sympy.sympify(number)
        return self.operand(node, 0, weight * factor if node.target is aten.mul.Tensor else weight / factor)

    def reduction(self, node: fx.Node, weight: sympy.Expr) -> Term:
        """mean(v), sum(v), or a loss of torch with its reduction taken off."""
        value = node.args[0] if node.args else None
        schema = getattr(node.target, "_schema", None)
        if schema is None or not isinstance(value, fx.Node):
            raise self.refusal(node)
        name = schema.name.removeprefix("aten::")
        if name in ("mean", "sum"):
            inner = Term(value, weight / self.count(value) * self.count(node) if name == "mean" else weight)
            again = getattr(value.target, "_schema", None)
            reduced = again is not None and again.name in ("aten::mean", "aten::sum")
            return self.reduction(value, inner.weight) if reduced else inner
        places = [k for k, a in enumerate(schema.arguments) if a.name == "reduction"]
        if not places:
            raise self.refusal(node)
        mean = (node.args[places[0]] if len(node.args) > places[0] else MEAN) == MEAN
        unreduced = self.without_reduction(node, places[0])
        if not mean:
            return Term(unreduced, weight)
        return Term(unreduced, weight / self.count(unreduced), self.uncounted(node, name, unreduced))

    def without_reduction(self, node: fx.Node, place: int) -> fx.Node:
        """The same loss with reduction 'none'."""
        schema = node.target._schema  # type: ignore[union-attr]
        given = list(node.args) + [a.default_value for a in schema.arguments[len(node.args) : place + 1]]
        given[place] = 0
        graph = self.traced.graph
        with graph.inserting_before(node):
            made = graph.call_function(node.target, tuple(given), dict(node.kwargs))  # type: ignore[arg-type]
        made.meta = {k: v for k, v in node.meta.items() if k != "val"}
        values = fx.map_arg((made.args, made.kwargs), lambda n: n.meta["val"])
        with node.meta["val"].fake_mode, without_mistaken_references():
            made.meta["val"] = made.target(*values[0], **values[1])  # type: ignore[operator]
        return made

    def uncounted(self, node: fx.Node, name: str, unreduced: fx.Node) -> tuple[fx.Node, int] | None:
        """The mean of cross-entropy is no plain mean where it counts targets: class weights, some tokens ignored.

        Of several targets an example it is plain where none is ignored, which the program looks at.
        """
        if name not in ("cross_entropy_loss", "nll_loss_nd"):
            return None
        target = node.args[1]
        assert isinstance(target, fx.Node)
        if target.meta["val"].is_floating_point():
            return None
        if len(node.args) > 2 and node.args[2] is not None:
            raise self.refusal(node, "with class weights its mean is divided by the sum of the batch's weights")
        if self.count(unreduced) == N:
            return None
        place = [a.name for a in node.target._schema.arguments].index("ignore_index")  # type: ignore[union-attr]
        ignored = node.args[place] if len(node.args) > place else IGNORED
        if ignored != IGNORED:
            raise self.refusal(node, f"its mean counts the targets of the whole batch that are not {ignored}", TOKENS)
        return target, IGNORED

    def count(self, node: fx.Node) -> Any:
        """The number of elements of a value."""
        return sympy.prod(list(self.traced.shape(node)))

    def refusal(self, node: fx.Node, why: str = "", remedy: str = WRITE_LOSSES) -> UnsupportedLoss:
        """The refusal of a scalar that is no plain sum or mean."""
        return UnsupportedLoss(
            f"the loss is a scalar that is no plain sum or mean over examples: it ends in {short_name(op_name(node))}"
            + (f"; {why}" if why else ""),
            origin=self.traced.origin(node),
            remedy=remedy,
        )
