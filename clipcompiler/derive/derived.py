"""What is derived of a model: for every parameter, its per-example gradient as a sum of networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

from clipcompiler.algebra import Letter, Network, Square
from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.references import EachOfOp, Tap
from clipcompiler.dsl.ruleset import OpRule
from clipcompiler.origin import Origin
from clipcompiler.trace.traced import Parameter

__all__ = ["Derived", "Functions", "ReadOnce", "Term", "Use"]


@dataclass(frozen=True, slots=True)
class Use:
    """One op applied to one parameter, or to a function of parameters.

    Attributes:
        node: the op.
        operand: the name of the argument.
        source: the parameter's placeholder, or the value computed from parameters alone.
    """

    node: fx.Node
    operand: str
    source: fx.Node


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a per-example gradient.

    Attributes:
        uses: where it comes from: one op, or several that are summed along one position.
        taps: the values whose cotangents it reads.
        rule: the rule it was derived from.
        network: g[n, …] as a network.
        origin: the op in the user's program.
        equation: the equation of the op, with the letters of this use.
        unit: g[unit, …], where norms are those of units of unequal size.
        root: the value whose gradient it is a term of, where the use reads that value's elements in another order.
    """

    uses: tuple[Use, ...]
    taps: tuple[Tap, ...]
    rule: OpRule
    network: Network
    origin: Origin
    equation: str = ""
    unit: Network | None = None
    root: fx.Node | None = None

    @property
    def source(self) -> fx.Node:
        """The parameter's placeholder, or the value computed from parameters, whose gradient it is a term of."""
        return self.root or self.uses[0].source

    @property
    def each(self) -> Network:
        """What is squared: the gradient of an example, or of a unit."""
        return self.unit or self.network

    @property
    def of_op(self) -> EachOfOp | None:
        """The op whose vjp gives this term, where it was derived from no equation."""
        reference = self.network.factors[0].tensor.reference
        return reference if isinstance(reference, EachOfOp) else None

    @property
    def square(self) -> Square:
        """‖g[n]‖² of this term alone, closed over n."""
        return Square(self.each, self.each.output[0])

    @property
    def letters(self) -> tuple[Letter, ...]:
        """The letters of the parameter, in the order of its elements."""
        return tuple(x for x in self.network.output if x != EXAMPLE)


@dataclass(frozen=True, slots=True)
class ReadOnce:
    """Values that hold elements of parameters and nothing else, each at most once in all: ‖g_θ‖² = Σ_v ‖g_v‖².

    Attributes:
        parameters: the placeholders of the parameters.
        values: all values that are computed from them.
        nodes: every op between the two, in order; they work in any dtype.
    """

    parameters: tuple[fx.Node, ...]
    values: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]


@dataclass(frozen=True, slots=True)
class Functions:
    """Values computed from parameters alone, whose gradients flow back to the parameters by the chain rule.

    Attributes:
        values: the nodes that ops with examples use.
        parameters: the placeholders of the trainable parameters they depend on.
        nodes: every op between the two, in order.
        read_once: those of them whose squares add up.
    """

    values: tuple[fx.Node, ...]
    parameters: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]
    read_once: tuple[ReadOnce, ...] = ()

    def dtype(self, node: fx.Node, wide: torch.dtype) -> torch.dtype:
        """The dtype in which the graph of the functions holds a node: ``wide`` where nothing is rounded there."""
        value = node.meta["val"]
        dtype: torch.dtype = (value[0] if isinstance(value, (list, tuple)) else value).dtype
        moved = any(node in (*own.parameters, *own.nodes) for own in self.read_once)
        return wide if moved and dtype.is_floating_point else dtype


@dataclass(frozen=True, slots=True)
class Derived:
    """The per-example gradient of every trainable parameter.

    Attributes:
        axes: what it was derived from.
        terms: for each parameter's placeholder, and each value of ``functions``, the terms of its gradient.
        functions: the parameters behind functions.
        unreached: the trainable parameters that the loss does not depend on; their gradient is zero.
        by_unit: whether norms are those of units of unequal size, known when the program is called.
    """

    axes: Axes
    terms: Mapping[fx.Node, tuple[Term, ...]]
    functions: Functions
    unreached: tuple[Parameter, ...]
    by_unit: bool = False

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every tap, once, in the order of the graph."""
        place = {node: k for k, node in enumerate(self.axes.traced.graph.nodes)}
        found = {tap for terms in self.terms.values() for term in terms for tap in term.taps}
        return tuple(sorted(found, key=lambda tap: (place[tap.node], type(tap).__name__, getattr(tap, "operand", ""))))
