"""Where the examples lie in a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy

from clipcompiler.trace.traced import N

__all__ = [
    "EXAMPLES",
    "Axis",
    "Dim",
    "Layout",
    "around_examples",
    "batch_dim",
    "carrying_dims",
    "merged",
    "plain",
    "show",
    "size_of",
]


@dataclass(frozen=True, slots=True)
class Axis:
    """An elementary axis, of which a dim is a product.

    Attributes:
        size: its extent.
        examples: whether one step along it goes from one example to the next.
    """

    size: Any
    examples: bool = False

    def __str__(self) -> str:
        return "n" if self.examples else str(self.size)


EXAMPLES = Axis(N, examples=True)

#: The ordered elementary axes a dim is the product of, slowest first; () is a dim of extent 1.
Dim = tuple[Axis, ...]
#: The composition of every dim of a value.
Layout = tuple[Dim, ...]


def merged(axes: list[Axis]) -> Dim:
    """Neighbouring axes without examples as one; axes of extent 1 left out."""
    dim: list[Axis] = []
    for axis in axes:
        if axis.size == 1 and not axis.examples:
            continue
        if dim and not axis.examples and not dim[-1].examples:
            dim[-1] = Axis(dim[-1].size * axis.size)
        else:
            dim.append(axis)
    return tuple(dim)


def plain(shape: tuple[Any, ...]) -> Layout:
    """The layout of a value in which no examples lie."""
    return tuple(merged([Axis(size)]) for size in shape)


def batch_dim(examples_per_unit: int) -> Dim:
    """The first dim of the batch: the examples, or units of some consecutive ones."""
    return merged([EXAMPLES, Axis(examples_per_unit)])


def carrying_dims(layout: Layout) -> list[int]:
    """The dims in which the examples lie; [] for a value without examples."""
    return [d for d, dim in enumerate(layout) if EXAMPLES in dim]


def around_examples(layout: Layout) -> tuple[int, int, int]:
    """[…, a·n·b, …] → the dim that carries the examples, a and b."""
    (dim,) = carrying_dims(layout)
    place = layout[dim].index(EXAMPLES)
    return dim, int(size_of(layout[dim][:place])), int(size_of(layout[dim][place + 1 :]))


def size_of(dim: Dim) -> Any:
    """The extent of a dim: the product of its axes."""
    return sympy.prod([axis.size for axis in dim])


def show(layout: Layout) -> str:
    """``[n, 12·n, 5]``: each dim as the product of its axes."""
    return "[" + ", ".join("·".join(map(str, dim)) or "1" for dim in layout) + "]"
