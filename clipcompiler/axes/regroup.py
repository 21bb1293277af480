"""[a·b, c] → [a, b·c]: the same axes in the same order, under other dims."""

from __future__ import annotations

from typing import Any

import sympy

from clipcompiler.axes.layout import Axis, Dim, Layout, merged
from clipcompiler.trace.traced import N

__all__ = ["regroup"]


def regroup(layout: Layout, shape: tuple[Any, ...]) -> Layout | None:
    """The layout of a view of ``shape``, or ``None`` where a dim would cut through the examples.

    Axes without examples may be cut anywhere; the axis of the examples only stays whole.
    """
    left = list(merged([axis for dim in layout for axis in dim]))
    dims: list[Dim] = []
    for size in shape:
        dim = take(left, size)
        if dim is None:
            return None
        dims.append(dim)
    return tuple(dims) if not left else None


def take(left: list[Axis], size: Any) -> Dim | None:
    """Removes from the front of ``left`` the axes that make up a dim of ``size``."""
    number, examples = split_examples(size)
    if number is None:
        return None
    taken: list[Axis] = []
    while number != 1 or examples:
        if not left:
            return None
        axis = left.pop(0)
        if axis.examples:
            if not examples:
                return None
            examples = False
        elif (rest := quotient(number, axis.size)) is not None:
            number = rest
        elif (rest := quotient(axis.size, number)) is not None and number != 1:
            left.insert(0, Axis(rest))
            axis, number = Axis(number), 1
        else:
            return None
        taken.append(axis)
    return merged(taken)


def quotient(size: Any, part: Any) -> Any | None:
    """size / part where it is a whole number, or a product of whole numbers and lengths."""
    rest = sympy.cancel(sympy.sympify(size) / part)
    if sympy.denom(rest) != 1:
        return None
    return int(rest) if rest.is_Integer else rest


def split_examples(size: Any) -> tuple[Any | None, bool]:
    """A size as a number (or a product of lengths), times N or not; (None, False) for any other expression."""
    if isinstance(size, int):
        return size, False
    if N not in size.free_symbols:
        return size, False
    rest = sympy.cancel(size / N)
    if N in rest.free_symbols or sympy.denom(rest) != 1:
        return None, False
    return (int(rest) if rest.is_Integer else rest), True
