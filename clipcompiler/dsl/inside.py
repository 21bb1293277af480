"""Ops that use their parameters within, at values that they do not return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clipcompiler.dsl.equation import Equation
from clipcompiler.dsl.forms import Aligned
from clipcompiler.dsl.operand import Operand

__all__ = ["Inside", "inside"]


@dataclass(frozen=True, slots=True)
class Inside:
    """Parameters enter the op at pre-activations within it, z = Σ …, of which only the cotangents are asked for.

    The op has an argument for each, which it adds to it: a tensor of zeros there has the cotangent as its gradient.

    Attributes:
        outputs: what the dims of each output run along with.
        at: the equations of the pre-activations, by the name of the argument that is added.
        returned: the operands of these equations that are outputs of the op itself, by name, and which output. The
            forward may not read them.
    """

    outputs: tuple[Aligned, ...]
    at: Mapping[str, Equation]
    returned: Mapping[str, int]

    def reads(self, operand: str) -> tuple[str, ...]:
        """The pre-activations that an operand enters."""
        return tuple(name for name, equation in self.at.items() if equation.reads(operand))


def inside(*outputs: Aligned, returned: Mapping[int, Operand], **at: Equation) -> Inside:
    """``inside(aligned(…), aligned(…), returned={1: before}, z=equation(out[t, n, g], …))``.

    ``returned`` are the operands that are outputs of the op, such as the states before each step: they are returned
    for the equations alone. Every other operand is an argument. The keywords name the arguments that are added to the
    pre-activations.
    """
    places = {operand.name: place for place, operand in returned.items()}
    return Inside(outputs, MappingProxyType(at), MappingProxyType(places))
