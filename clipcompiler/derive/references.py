"""What the tensors of a derived network stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy
from torch import fx

from clipcompiler.algebra import Factor, Letter

__all__ = [
    "AuxiliaryValue",
    "Cotangent",
    "EachOfOp",
    "Elementwise",
    "Indicator",
    "InsideTap",
    "OperandTap",
    "OutputTap",
    "OutputValue",
    "Stack",
    "Tap",
    "Value",
]


@dataclass(frozen=True, slots=True)
class OutputTap:
    """The output of an op that uses a parameter: its cotangent is asked for."""

    node: fx.Node


@dataclass(frozen=True, slots=True)
class OperandTap:
    """A parameter repeated to the extents of the output of an elementwise op: its cotangent is asked for.

    Attributes:
        node: the op.
        operand: the name of the argument.
    """

    node: fx.Node
    operand: str


@dataclass(frozen=True, slots=True)
class InsideTap:
    """Zeros added to a pre-activation within an op: their cotangent is asked for.

    Attributes:
        node: the op.
        operand: the name of the argument that is added.
        shape: the extents of the pre-activation.
    """

    node: fx.Node
    operand: str
    shape: tuple[Any, ...]


Tap = OutputTap | OperandTap | InsideTap


@dataclass(frozen=True, slots=True)
class Cotangent:
    """ȳ: the gradient of the sum of the losses with respect to a tap."""

    tap: Tap


@dataclass(frozen=True, slots=True)
class EachOfOp:
    """g[n] = Σ_k (∂y_k[n]/∂w)ᵀ ȳ_k[n]: the gradients of one op alone, by its vjp for one example at a time.

    Attributes:
        node: the op.
        source: w, a value without examples that is an argument of the op.
        taps: the outputs y_k that the loss depends on; the number of each, where the op has several.
        vmapped: whether torch can take the vjp for all examples at once, by vmap.
    """

    node: fx.Node
    source: fx.Node
    taps: tuple[tuple[int | None, OutputTap], ...]
    vmapped: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the traced graph."""

    node: fx.Node


@dataclass(frozen=True, slots=True)
class OutputValue:
    """One output of an op of several.

    Attributes:
        node: the op.
        place: which output.
    """

    node: fx.Node
    place: int


@dataclass(frozen=True, slots=True)
class AuxiliaryValue:
    """A tensor computed beside an op, such as a normalised input.

    Attributes:
        node: the op whose rule names it.
        name: its name in the rule.
        op: what computes it.
        args: the arguments of that op: nodes, and plain values.
    """

    node: fx.Node
    name: str
    op: Any
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Elementwise:
    """An expression of tensors, element by element.

    Attributes:
        expression: the expression, in the symbols of ``reads``.
        reads: for each symbol the tensor access it stands for.
    """

    expression: sympy.Expr
    reads: tuple[tuple[sympy.Symbol, Factor], ...]


@dataclass(frozen=True, slots=True)
class Indicator:
    """δ[n,s,v] = 1 where i[n,s] = v, else 0: which row of a parameter was looked up. Never written to memory.

    Attributes:
        places: i[n,s], the numbers of the rows.
        skipped: the number whose row gets no gradient.
        wraps: whether negative numbers count from the end.
    """

    places: Factor
    skipped: int | None = None
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """The tensors of several uses of a parameter, one after another along one position.

    Attributes:
        parts: one tensor a use.
        letters: the letters of each part: n, its positions, then those of the parameter, which all parts have.
        positions: the number of positions of each part.
        shared: the number of letters of the parameter.
    """

    parts: tuple[Factor, ...]
    letters: tuple[tuple[Letter, ...], ...]
    positions: tuple[Any, ...]
    shared: int
