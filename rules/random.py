"""Ops that draw at random: every element is drawn independently of every other."""

from typing import Any

import sympy

from clipcompiler.dsl import Form, Operand, aligned, aten, created, op_rule, pointwise


@op_rule(
    aten.native_dropout.default, aten.dropout.default, aten.bernoulli.p, aten.bernoulli.default,
    aten.exponential.default, aten.normal_functional.default, aten.uniform.default, aten.rrelu.default,
    aten.poisson.default, aten.cauchy.default, aten.geometric.default, aten.log_normal.default,
    aten.randint_like.default, aten.randint_like.low_dtype,
)  # fmt: skip
def draw(self: Operand, *options: Any, **more: Any) -> Form:
    """y[s] ~ a distribution given by x[s] and numbers, independently for every s"""
    return pointwise(None, self)


@op_rule(aten.rrelu_with_noise_functional.default)
def rrelu_with_noise(self: Operand, noise: Operand, *options: Any, **more: Any) -> Form:
    """y[s] = x[s] where x[s] > 0, r x[s] elsewhere; the slopes r drawn, and returned as the noise"""
    return pointwise(None, self, noise)


@op_rule(aten.normal.Tensor_float, aten.normal.float_Tensor, aten.normal.Tensor_Tensor)
def normal(mean: Any, std: Any = 1.0, **more: Any) -> Form:
    """y[s] ~ a normal distribution of mean μ[s] and deviation σ[s], independently for every s"""
    return pointwise(None, mean, std)


@op_rule(aten.randint.default, aten.randint.low)
def whole_numbers(*arguments: Any, **options: Any) -> Form:
    """y[s] ~ the whole numbers between two bounds, independently for every s"""
    return created(sizes=not any(isinstance(bound, sympy.Expr) for bound in arguments[:-1]))


@op_rule(aten.multinomial.default)
def multinomial(self: Operand, *options: Any, **more: Any) -> Form:
    """y[n,:] = places drawn by the weights x[n,:]"""
    return aligned([(self, 0)], []) if self.ndim > 1 else aligned([])
