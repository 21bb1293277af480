"""What is derived of a model: for every parameter, its per-example gradient as a sum of networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from clipcompiler.algebra import Letter, Network, Square
from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.bind import EXAMPLE
from clipcompiler.derive.references import Tap
from clipcompiler.dsl.ruleset import OpRule
from clipcompiler.origin import Origin
from clipcompiler.trace.traced import Parameter

__all__ = ["Derived", "Functions", "Term", "Use"]


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
        use: where it comes from.
        tap: the value whose cotangent it reads.
        rule: the rule it was derived from.
        network: g[n, …] as a network.
        origin: the op in the user's program.
        equation: the equation of the op, with the letters of this use.
        unit: g[unit, …], where norms are those of units of unequal size.
    """

    use: Use
    tap: Tap
    rule: OpRule
    network: Network
    origin: Origin
    equation: str = ""
    unit: Network | None = None

    @property
    def each(self) -> Network:
        """What is squared: the gradient of an example, or of a unit."""
        return self.unit or self.network

    @property
    def square(self) -> Square:
        """‖g[n]‖² of this term alone, closed over n."""
        return Square(self.each, self.each.output[0])

    @property
    def letters(self) -> tuple[Letter, ...]:
        """The letters of the parameter."""
        return tuple(x for x in self.network.output if x != EXAMPLE)


@dataclass(frozen=True, slots=True)
class Functions:
    """Values computed from parameters alone, whose gradients flow back to the parameters by the chain rule.

    Attributes:
        values: the nodes that ops with examples use.
        parameters: the placeholders of the trainable parameters they depend on.
        nodes: every op between the two, in order.
    """

    values: tuple[fx.Node, ...]
    parameters: tuple[fx.Node, ...]
    nodes: tuple[fx.Node, ...]


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
        found = {term.tap for terms in self.terms.values() for term in terms}
        return tuple(sorted(found, key=lambda tap: (place[tap.node], type(tap).__name__, getattr(tap, "operand", ""))))
