"""The element-by-element functions of torch.special that are ops of their own."""

from typing import Any

from clipcompiler.dsl import Form, aten, op_rule, pointwise


@op_rule(
    aten.special_i0.default, aten.special_ndtr.default, aten.special_expit.default, aten.special_erf.default,
    aten.special_erfc.default, aten.special_erfinv.default, aten.special_exp2.default, aten.special_expm1.default,
    aten.special_log1p.default, aten.special_logit.default, aten.special_sinc.default, aten.special_psi.default,
    aten.special_digamma.default, aten.special_gammaln.default, aten.special_multigammaln.default,
    aten.special_gammainc.default, aten.special_gammaincc.default, aten.special_xlogy.default,
    aten.special_round.default,
)  # fmt: skip
def special(*operands: Any, **options: Any) -> Form:
    """y = f(x₁, …) element by element, broadcast"""
    return pointwise(None, *operands)
