"""Element-by-element ops. Those linear or rational in an operand state a formula; the tag covers the rest."""

from typing import Any

import sympy
import torch

from clipcompiler.dsl import Aligned, Equation, Form, Operand, aten, equation, indices, op_rule, out, pointwise

n, c, s = indices("n c *s")


@op_rule(
    torch.Tag.pointwise, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar, aten.log_sigmoid.default,
    aten.hardswish.default, aten.floor_divide.default, aten.isclose.default, aten.__and__.Tensor, aten.__and__.Scalar,
    aten.__or__.Tensor, aten.__or__.Scalar,
)  # fmt: skip
def elementwise(*operands: Any, **options: Any) -> Form:
    """y = f(x₁, x₂, …) element by element, broadcast"""
    return pointwise(None, *operands, *options.values())


@op_rule(aten.masked_fill.Tensor)
def masked_fill(self: Operand, mask: Operand, value: Operand) -> Form:
    """y[s] = v where the mask is true, x[s] elsewhere, for one number v"""
    form = pointwise(None, self, mask)
    return Aligned(form.dims) if isinstance(form, Aligned) else form


@op_rule(aten.add.Tensor)
def add(self: Operand, other: Any, *, alpha: float = 1) -> Form:
    """y = x + α·z"""
    return pointwise(lambda x, z: x + alpha * z, self, other)


@op_rule(aten.sub.Tensor)
def sub(self: Operand, other: Any, *, alpha: float = 1) -> Form:
    """y = x − α·z"""
    return pointwise(lambda x, z: x - alpha * z, self, other)


@op_rule(aten.mul.Tensor)
def mul(self: Operand, other: Any) -> Form:
    """y = x·z"""
    return pointwise(lambda x, z: x * z, self, other)


@op_rule(aten.div.Tensor)
def div(self: Operand, other: Any) -> Form:
    """y = x / z"""
    return pointwise(lambda x, z: x / z, self, other)


@op_rule(aten.neg.default)
def neg(self: Operand) -> Form:
    """y = −x"""
    return pointwise(lambda x: -x, self)


@op_rule(aten.prelu.default)
def prelu(self: Operand, weight: Operand) -> Equation:
    """y[n,c,s] = max(x[n,c,s], 0) + W[c]·min(x[n,c,s], 0), one W for all channels where it has one element"""
    at = (n, c, s) if self.ndim > 1 else (s,)
    x, slope = self[at], weight[c] if weight.ndim == 1 and weight.shape[0] != 1 else weight[(0,) * weight.ndim]
    return equation(out[at], sympy.Max(x, 0) + slope * sympy.Min(x, 0))
