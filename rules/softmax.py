"""Softmax and its family: each mixes one dim and keeps the others apart."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aten, mixes, op_rule


@op_rule(
    aten.softmax.int, aten.log_softmax.int, aten._softmax.default, aten._log_softmax.default,
    aten.special_softmax.default, aten.special_log_softmax.default,
)  # fmt: skip
def softmax(self: Operand, dim: int, dtype: Any = None) -> Form:
    """y[n,s] = exp x[n,s] / Σ_t exp x[n,t], or its logarithm"""
    return mixes(self, [dim])


@op_rule(aten.glu.default)
def glu(self: Operand, dim: int = -1) -> Form:
    """y[n,s] = x[n,s] σ(x[n, S+s])"""
    return mixes(self, [dim])
