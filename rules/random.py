"""Ops that draw at random: every element is drawn independently of every other."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aten, op_rule, pointwise


@op_rule(
    aten.native_dropout.default, aten.dropout.default, aten.bernoulli.p, aten.bernoulli.default,
    aten.exponential.default, aten.normal_functional.default, aten.uniform.default, aten.rrelu.default,
    aten.rrelu_with_noise_functional.default, aten.poisson.default,
)  # fmt: skip
def draw(self: Operand, *options: Any, **more: Any) -> Form:
    """y[s] ~ a distribution given by x[s] and numbers, independently for every s"""
    return pointwise(None, self)
