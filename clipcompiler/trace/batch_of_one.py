"""Whether a graph, at N = 1, computes what the model computes of a batch of one.

A forward may branch on ``x.shape[0] == 1``, often to no effect: ``if batch_size != p.shape[0]: p = p.expand(batch_size,
-1)``. The graph for N examples then holds one path, and a batch of one takes the other. Both are traced; where they are
the same calls of the same ops once N is 1 and what does nothing is left out, the graph serves a batch of one too.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable
from typing import Any

import sympy
import torch
from torch import Tensor, fx

from clipcompiler.trace.traced import TracedLoss, is_size

__all__ = ["same_for_one"]

aten = torch.ops.aten
#: Ops whose output is their input where it has the same extents.
REGROUPING = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints)
REPEATING = (aten.expand.default, aten.broadcast_to.default, aten.repeat.default, aten.slice.Tensor)
#: Ops whose output has the elements of their input.
COPYING = (aten.clone.default, aten.contiguous.default, aten.alias.default)


def same_for_one(traced: TracedLoss, alone: TracedLoss) -> bool:
    """Whether the loss of ``traced`` at N = 1 and its updates of buffers are, op by op, those of ``alone``.

    ``alone`` is the graph of a batch of one.
    """
    known: dict[Hashable, int] = {}
    return Numbering(traced, known).results() == Numbering(alone, known).results()


class Numbering:
    """Gives equal values of graphs equal numbers: a number stands for one op on numbered values.

    Attributes:
        traced: a graph, read at N = 1.
        known: the numbers given so far, also to the values of another graph.
        numbers: the number of each node.
        draws: how many ops have drawn at random: each draw is a value of its own.
        source: what a number is a view of, and the extents of that.
    """

    def __init__(self, traced: TracedLoss, known: dict[Hashable, int]) -> None:
        self.traced = traced
        self.known = known
        self.numbers: dict[fx.Node, int] = {}
        self.draws = 0
        self.source: dict[int, tuple[int, tuple[Any, ...]]] = {}

    def results(self) -> tuple[int, dict[str, int]]:
        """The number of the loss, and that of every buffer's new value."""
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.numbers[node] = self.number(self.placeholder(node))
            elif node.op == "call_function" and not is_size(node):
                self.numbers[node] = self.call(node)
        updates = {name: self.numbers[node] for name, node in self.traced.updates.items()}
        return self.numbers[self.traced.loss], updates

    def number(self, key: Hashable) -> int:
        """The number of a value described by ``key``."""
        return self.known.setdefault(key, len(self.known))

    def placeholder(self, node: fx.Node) -> Hashable:
        """An input by its place, a parameter or buffer by its name, a constant by its elements."""
        if node.name in self.traced.inputs:
            return "input", self.traced.inputs.index(node.name)
        parameter = self.traced.parameter(node)
        if parameter is not None:
            return "parameter", parameter.name
        name = self.traced.buffers.get(node.name, node.name)
        constant = self.traced.constants.get(name)
        if constant is None:
            return "buffer", name
        return "constant", str(constant.dtype), tuple(constant.shape), repr(constant.tolist())

    def call(self, node: fx.Node) -> int:
        """The number of an op's value; that of its input where the op does nothing at N = 1."""
        target, value = node.target, node.meta["val"]
        if not isinstance(value, Tensor) or target is operator.getitem:
            return self.number(self.key(node))
        shape = self.shape(value)
        written = node.args[1] if target is aten.slice_scatter.default else None
        if isinstance(written, fx.Node) and self.shape(written.meta["val"]) == shape:
            return self.numbers[written]  # all of it is written anew
        first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if first is not None and target in (*REGROUPING, *REPEATING, *COPYING):
            number = self.numbers[first]
            before = self.shape(first.meta["val"])
            if target in COPYING or before == shape:
                return number
            if target in REGROUPING:
                return self.view(number, before, shape)
        return self.number((self.key(node), shape))

    def view(self, number: int, before: tuple[Any, ...], shape: tuple[Any, ...]) -> int:
        """The number of a view: a view of a view is one of the first value, or that value again."""
        root, first = self.source.get(number, (number, before))
        if shape == first:
            return root
        made = self.number(("view", root, shape))
        self.source[made] = root, first
        return made

    def key(self, node: fx.Node) -> Hashable:
        """An op and what it is called with."""
        drawn: Hashable = None
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            self.draws += 1
            drawn = self.draws
        options = sorted(node.kwargs.items())
        return (
            str(node.target),
            self.argument(node.args),
            self.argument([v for _, v in options]),
            repr([k for k, _ in options]),
            drawn,
        )

    def argument(self, value: Any) -> Hashable:
        """An argument: the number of a value, the extent of a size at N = 1, anything else by its kind and text."""
        if isinstance(value, fx.Node):
            return self.size(value.meta["val"]) if is_size(value) else ("value", self.numbers[value])
        if isinstance(value, (list, tuple)):
            return tuple(self.argument(v) for v in value)
        return self.size(value)

    def shape(self, value: Tensor) -> tuple[Any, ...]:
        """The extents of a value at N = 1."""
        return tuple(self.size(size) for size in value.shape)

    def size(self, value: Any) -> Hashable:
        """A size at N = 1."""
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            expression = value.node.expr
            expression = expression.subs({s: x.letter for x in self.traced.lengths for s in x.exported})
            if self.traced.batch in expression.free_symbols:
                expression = expression.subs(self.traced.batch, 1)
            value = int(expression) if isinstance(expression, sympy.Integer) else expression
        return type(value).__name__, str(value)
