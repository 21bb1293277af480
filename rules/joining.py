"""Ops that put values one after another along a dim that they choose by the number of dims."""

from clipcompiler.dsl import Form, Operand, aten, mixes, op_rule


@op_rule(aten.hstack.default)
def hstack(tensors: list[Operand]) -> Form:
    """y = x₁, x₂, … one after another along dim 1, vectors along dim 0"""
    return mixes(tensors[0], [min(1, tensors[0].ndim - 1)], *tensors[1:])


@op_rule(aten.vstack.default)
def vstack(tensors: list[Operand]) -> Form:
    """y = x₁, x₂, … one after another along dim 0, vectors as rows"""
    return joined(tensors, 2, 0)


@op_rule(aten.dstack.default)
def dstack(tensors: list[Operand]) -> Form:
    """y = x₁, x₂, … one after another along dim 2, after a new dim where there are two"""
    return joined(tensors, 3, 2)


@op_rule(aten.column_stack.default)
def column_stack(tensors: list[Operand]) -> Form:
    """y = x₁, x₂, … one after another along dim 1, vectors as columns"""
    if tensors[0].ndim > 1:
        return mixes(tensors[0], [1], *tensors[1:])
    form = mixes(tensors[0], [], *tensors[1:])
    return type(form)((*form.dims, ()))


def joined(tensors: list[Operand], ndim: int, dim: int) -> Form:
    """Values of at least ``ndim`` dims: vectors as one row (in the middle), matrices with a last dim of extent 1."""
    first = tensors[0]
    if first.ndim >= ndim:
        return mixes(first, [dim], *tensors[1:])
    rows = list(mixes(first, [], *tensors[1:]).dims)
    rows = [(), *rows] if first.ndim == 1 else rows
    return type(mixes(first, []))((*rows, *((),) * (ndim - len(rows))))
