"""Real and imaginary parts: numbers joined, taken apart, conjugated."""

from clipcompiler.dsl import Form, Operand, aligned, aten, op_rule, pointwise


@op_rule(aten.complex.default, aten.polar.default)
def joined(first: Operand, second: Operand) -> Form:
    """y[s] = a[s] + i b[s], or a[s] exp(i b[s])"""
    return pointwise(None, first, second)


@op_rule(
    aten.real.default, aten.imag.default, aten.conj.default, aten._conj.default, aten.resolve_conj.default,
    aten._neg_view.default, aten.resolve_neg.default,
)  # fmt: skip
def part(self: Operand) -> Form:
    """y[s] = Re x[s], Im x[s], or x̄[s]"""
    return pointwise(None, self)


@op_rule(aten.view_as_real.default)
def parts(self: Operand) -> Form:
    """y[s,0] = Re x[s], y[s,1] = Im x[s]"""
    return aligned(*([(self, d)] for d in range(self.ndim)), [])


@op_rule(aten.view_as_complex.default)
def from_parts(self: Operand) -> Form:
    """y[s] = x[s,0] + i x[s,1]"""
    return aligned(*([(self, d)] for d in range(self.ndim - 1)))
