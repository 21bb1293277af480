"""The traced loss: one functional ATen graph from parameters, buffers and a batch to the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch import Tensor, fx

from clipcompiler.errors import CompileError
from clipcompiler.origin import Origin
from clipcompiler.trace.autocast import Autocast
from clipcompiler.trace.lengths import Length
from clipcompiler.trace.source import origin_of

__all__ = ["N", "Parameter", "TracedLoss", "shape_of"]

#: The batch size, in every extent, cost and generated program.
N = sympy.Symbol("N", integer=True, nonnegative=True)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the model, by its first name.

    Attributes:
        name: its path in the model, such as ``conv1.weight``.
        shape: its extents.
        trainable: whether it requires a gradient.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool


@dataclass(frozen=True, slots=True)
class TracedLoss:
    """A graph of functional ATen ops with its placeholders told apart.

    Attributes:
        graph: placeholders, then ops in order, then one output: the loss.
        model: the name of the model's class.
        parameters: every parameter of the model, by the name of its placeholder; those that the loss does
            not reach have their own name as key.
        buffers: the names of buffers and of constants, by placeholder.
        inputs: the placeholders of the batch, in the order of the call.
        updates: the values that the model would write to its buffers, by buffer name.
        batch: the symbol that ``torch.export`` gave to the batch size.
        constants: tensors that are neither parameters nor buffers, by the name in ``buffers``: those the forward
            makes from literals, and those it finds in a closure, a list, a global.
        literals: the names of the former.
        uncounted: targets and the value that a mean over them leaves out: it is a plain mean where none has it.
        examples_per_unit: m: a step of N goes from one unit of m consecutive examples of the batch to the next.
        lengths: the sizes of the batch that are letters, as N is.
        refusal: what is to be raised, after all, where the graph holds for some batch sizes only.
        autocast: what was on when the model was traced; the graph has its casts.
    """

    graph: fx.Graph
    model: str
    parameters: Mapping[str, Parameter]
    buffers: Mapping[str, str]
    inputs: tuple[str, ...]
    updates: Mapping[str, fx.Node] = field(default_factory=dict)
    batch: sympy.Symbol = N
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    literals: frozenset[str] = frozenset()
    uncounted: tuple[tuple[fx.Node, int], ...] = ()
    examples_per_unit: int = 1
    lengths: tuple[Length, ...] = ()
    refusal: CompileError | None = None
    autocast: Autocast = field(default_factory=Autocast.off)

    @property
    def loss(self) -> fx.Node:
        """The node whose value is the loss."""
        outputs = self.graph.output_node().args[0]
        returned = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        if not isinstance(returned, fx.Node):
            raise CompileError("the loss is a constant: no parameter and no input reaches it")
        return returned

    def ops(self) -> Iterator[fx.Node]:
        """The nodes that compute tensors (sizes and placeholders left out), in order."""
        return (n for n in self.graph.nodes if n.op == "call_function" and not is_size(n))

    def parameter(self, node: Any) -> Parameter | None:
        """The parameter a node stands for, if it is a parameter's placeholder."""
        if not isinstance(node, fx.Node) or node.op != "placeholder":
            return None
        return self.parameters.get(node.name)

    def shape(self, node: fx.Node, output: int | None = None) -> tuple[Any, ...]:
        """The extents of a node's value (of one of its values), as numbers and expressions in N."""
        value = node.meta["val"]
        if output is not None:
            value = value[output]
        return tuple(self.extent(size) for size in value.shape)

    def extent(self, size: Any) -> Any:
        """A size as a number or an expression in N."""
        if isinstance(size, torch.SymInt):
            expression = size.node.expr.subs(self.letters)
            return int(expression) if expression.is_Integer else expression
        if isinstance(size, torch.SymFloat) and self.lengths:
            return size.node.expr.subs(self.letters)
        if isinstance(size, fx.Node):
            return self.extent(size.meta["val"])
        return size

    @property
    def letters(self) -> dict[sympy.Symbol, sympy.Symbol]:
        """The symbols of ``torch.export`` for N and the lengths, and ours."""
        return {self.batch: N, **{symbol: x.letter for x in self.lengths for symbol in x.exported}}

    def is_of_lengths(self, extent: Any) -> bool:
        """Whether a size, or a number made from sizes, depends on lengths alone, which examples have of their own."""
        return isinstance(extent, sympy.Expr) and extent.free_symbols <= {x.letter for x in self.lengths}

    @property
    def usual(self) -> dict[sympy.Symbol, int]:
        """The lengths of the first batch."""
        return {x.letter: x.usual for x in self.lengths}

    def origin(self, node: fx.Node) -> Origin:
        """Where a node comes from in the user's program."""
        return origin_of(node)


def shape_of(node: fx.Node) -> tuple[Any, ...]:
    """The extents of a value that carries no examples, lengths as their letters."""
    return tuple(node.meta.get("sizes") or node.meta["val"].shape)


def is_size(node: fx.Node) -> bool:
    """Whether a node computes a number (a size), not a tensor."""
    return isinstance(node.meta.get("val"), (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool))
