"""Axes → the bytes of the values that one example adds to a forward: a quick look, before a peak is predicted."""

from __future__ import annotations

from typing import Any

import sympy
from torch import Tensor

from clipcompiler.axes.analyse import Axes
from clipcompiler.trace.traced import N

__all__ = ["activation_bytes"]


def activation_bytes(axes: Axes) -> int:
    """The sum over all ops that compute values with examples; views are none."""
    total = 0
    for node in axes.traced.ops():
        value = node.meta.get("val")
        if isinstance(value, Tensor) and axes.carries(node) and not is_view(node.target):
            size: Any = sympy.prod(axes.traced.shape(node))
            total += int(sympy.sympify(size).subs(N, 1)) * value.element_size()
    return total


def is_view(target: Any) -> bool:
    """Whether an op returns its argument under other dims."""
    schema = getattr(target, "_schema", None)
    return schema is not None and any(r.alias_info is not None for r in schema.returns)
