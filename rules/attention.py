"""Attention, as one op."""

from typing import Any

from clipcompiler.dsl import ABSENT, Aligned, Form, Operand, aten, op_rule, pointwise


@op_rule(aten.scaled_dot_product_attention.default)
def attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Any = ABSENT,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Form:
    """y[n,t,e] = Σ_s softmax_s(scale Σ_d q[n,t,d] k[n,s,d] + mask[n,t,s]) v[n,s,e]"""
    masks = [attn_mask] if attn_mask and attn_mask.ndim > 1 else []
    form = pointwise(None, *(Operand(o.name, o.shape[:-2]) for o in (query, key, value, *masks)))
    batch = form.dims if isinstance(form, Aligned) else ()
    places = [(query.name, query.ndim - 2), *((m.name, m.ndim - 2) for m in masks if m.shape[-2] != 1)]
    return Aligned((*batch, () if is_causal else tuple(places), ((value.name, value.ndim - 1),)))
