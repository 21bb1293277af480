"""What the tensors of a derived network stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy
from torch import fx

from clipcompiler.algebra import Factor

__all__ = [
    "AuxiliaryValue",
    "Cotangent",
    "Elementwise",
    "InsideTap",
    "OperandTap",
    "OutputTap",
    "OutputValue",
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
