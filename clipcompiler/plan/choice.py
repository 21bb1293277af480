"""How the squared norm and the clipped sum of one parameter are computed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import fx

from clipcompiler.algebra import Cross, Pair
from clipcompiler.derive.derived import Term
from clipcompiler.plan.cost import Cost
from clipcompiler.plan.machine import Machine

__all__ = ["Choice", "Order"]


class Order(Enum):
    """The contraction orders by the names of the field."""

    RANK_ONE = "rank one"
    GRAM = "Gram"
    BY_ROW = "by row"
    CROSSED = "Gram, cross terms"
    DISCARD = "instantiate, discard"
    KEEP = "instantiate, keep"
    FOLDED = "folded"
    FUNCTION = "instantiate, pull back"
    PULLED = "pulled back, keep"
    READ_ONCE = "pull back the sum"


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to compute Σ_u g_u, its square and its clipped sum.

    Attributes:
        source: the parameter's placeholder, or a value computed from parameters.
        name: the parameter's name, or the value's.
        order: the contraction order.
        terms: the terms of the gradient.
        trees: for each term the order of its squared norm; the gradient itself where it is instantiated.
        norm: the cost of the squared norm.
        sum: the cost of the clipped sum.
        why: why this order.
        host: for a bias folded into a Gram: the parameter whose Gram it is.
        crosses: the cross terms of every two terms, where they are not added before they are squared.
        parameters: for a value computed from parameters: their names.
        kernel: the op of ``clipcompiler.kernels`` that computes the squared norm; empty where torch's own ops do.
        reweighted: whether its clipped sum is the gradient of Σ_n c_n ℓ_n, by a second backward pass.
    """

    source: fx.Node
    name: str
    order: Order
    terms: tuple[Term, ...]
    trees: tuple[Pair, ...]
    norm: Cost
    sum: Cost
    why: str = ""
    host: fx.Node | None = None
    crosses: tuple[Cross, ...] = ()
    parameters: tuple[str, ...] = ()
    reweighted: bool = False
    kernel: str = ""

    @property
    def parameter(self) -> str:
        """The parameter itself, or one that the value is computed from."""
        return self.parameters[0] if self.parameters else self.name

    @property
    def label(self) -> str:
        """The order, and which of several of its name."""
        steps = [step for t, tree in zip(self.terms, self.trees, strict=True) for step in t.square.steps(tree)]
        how = " from pixels" if any(s.from_pixels for s in steps) else ""
        how += " by a kernel" if self.kernel else " in tiles" if any(tree.tile for tree in self.trees) else ""
        return f"{self.order.value}{how}"

    @property
    def is_parameter(self) -> bool:
        """Whether it is a parameter's, no value's."""
        return self.source.op == "placeholder"

    @property
    def instantiates(self) -> bool:
        """Whether the per-example gradients are formed."""
        return self.order in (Order.DISCARD, Order.KEEP, Order.FUNCTION, Order.PULLED)

    @property
    def keeps(self) -> bool:
        """Whether the clipped sum is taken from per-example gradients kept."""
        return self.order in (Order.KEEP, Order.PULLED)

    def seconds(self, machine: Machine) -> float:
        """The predicted time of norm and sum."""
        return (self.norm + self.sum).seconds(machine)
