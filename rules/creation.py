"""Values made from sizes, or in the shape of a tensor whose elements are not read."""

from typing import Any

import sympy

from clipcompiler.dsl import Form, Operand, aten, created, op_rule, pointwise


@op_rule(
    aten.zeros.default, aten.ones.default, aten.empty.memory_format, aten.rand.default, aten.randn.default,
    aten.new_zeros.default, aten.new_ones.default, aten.new_empty.default,
)  # fmt: skip
def create(*arguments: Any, **options: Any) -> Form:
    """y[s] = one number for every place (or an independent draw for each)"""
    return created()


@op_rule(aten.full.default)
def full(size: Any, fill_value: Any, **options: Any) -> Form:
    """y[s] = v"""
    return created(sizes=not isinstance(fill_value, sympy.Expr))


@op_rule(aten.new_full.default)
def new_full(self: Operand, size: Any, fill_value: Any, **options: Any) -> Form:
    """y[s] = v"""
    return created(sizes=not isinstance(fill_value, sympy.Expr))


@op_rule(aten.arange.default, aten.arange.start, aten.arange.start_step)
def arange(*bounds: Any, **options: Any) -> Form:
    """y[s] = start + step·s; y[s] = s where start is 0 and step is 1"""
    start, step = bounds[0] if len(bounds) > 1 else 0, bounds[2] if len(bounds) > 2 else 1
    return created(sizes=False, places=bool(start == 0 and step == 1))


@op_rule(
    aten.linspace.default, aten.randperm.default, aten.scalar_tensor.default, aten.eye.default, aten.eye.m,
    aten.tril_indices.default, aten.triu_indices.default,
)  # fmt: skip
def places(*arguments: Any, **options: Any) -> Form:
    """y[s] = a number that depends on the place s, or on the sizes"""
    return created(sizes=False)


@op_rule(
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
    aten.rand_like.default, aten.randn_like.default, aten.fill.Scalar, aten.zero.default,
)  # fmt: skip
def create_like(self: Operand, *arguments: Any, **options: Any) -> Form:
    """y[s] = a number, or an independent draw, for every place s of x"""
    return pointwise(None, self)
