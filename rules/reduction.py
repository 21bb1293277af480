"""Ops that sum, average or pick along dims."""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import Aligned, Form, Operand, aligned, aten, mixes, op_rule, pointwise, reduces


@op_rule(
    aten.sum.default, aten.mean.default, aten.prod.default, aten.max.default, aten.min.default,
    aten.any.default, aten.all.default, aten.std.default, aten.var.default, aten.median.default,
)  # fmt: skip
def total(self: Operand, *options: Any, **more: Any) -> Form:
    """y = Σ_s x[s], or the mean, product, extreme, … over every dim"""
    return reduces(self, None)


@op_rule(aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default, aten.logsumexp.default)
def sum(self: Operand, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Form:
    """y[n] = Σ_s x[n,s], or the mean or extreme, over the dims named (none named: all)"""
    return reduces(self, dim, keepdim)


@op_rule(aten.std.correction, aten.var.correction)
def variance(self: Operand, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Form:
    """y[n] = Σ_s (x[n,s] − x̄[n])² / (S − correction), or its root"""
    return reduces(self, dim, keepdim)


@op_rule(aten.std.dim, aten.var.dim)
def variance_unbiased(self: Operand, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Form:
    """y[n] = Σ_s (x[n,s] − x̄[n])² / (S − 1), or its root"""
    return reduces(self, dim, keepdim)


@op_rule(
    aten.max.dim, aten.min.dim, aten.median.dim, aten.argmax.default, aten.argmin.default, aten.prod.dim_int,
    aten.any.dim, aten.all.dim,
)  # fmt: skip
def extreme(self: Operand, dim: int | None = None, keepdim: bool = False, **more: Any) -> Form:
    """y[n] = max_s x[n,s] and where it is, or a product, or a truth, along one dim"""
    return reduces(self, None if dim is None else [dim], keepdim)


@op_rule(aten.linalg_vector_norm.default, aten.linalg_norm.default, aten.norm.ScalarOpt_dim)
def norm(self: Operand, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Form:
    """y[n] = (Σ_s |x[n,s]|^p)^(1/p)"""
    return reduces(self, dim, keepdim)


@op_rule(aten.cumsum.default, aten.cumprod.default, aten.logcumsumexp.default, aten.cummax.default)
def cumulate(self: Operand, dim: int, *, dtype: Any = None) -> Form:
    """y[n,s] = Σ_{t ≤ s} x[n,t], or the product or extreme so far"""
    return mixes(self, [dim])


@op_rule(aten.sort.default, aten.argsort.default)
def sort(self: Operand, dim: int = -1, descending: bool = False) -> Form:
    """y[n,:] = x[n,:] in order, and the order"""
    return mixes(self, [dim])


@op_rule(aten.topk.default)
def topk(self: Operand, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Form:
    """y[n,:] = the k largest of x[n,:], and where they are"""
    return mixes(self, [dim])


@op_rule(aten.gather.default)
def gather(self: Operand, dim: int, index: Operand, *, sparse_grad: bool = False) -> Form:
    """y[n,s] = x[n, index[n,s]] along one dim"""
    gone = dim % max(self.ndim, 1)
    whole = [d != gone and self.shape[d] == index.shape[d] for d in range(index.ndim)]
    rows = ([(index, d), (self, d)] if whole[d] else [(index, d)] if d == gone else [] for d in range(index.ndim))
    return aligned(*rows, lookups=[(self, gone, index)])


@op_rule(aten.cosine_similarity.default)
def cosine_similarity(x1: Operand, x2: Operand, dim: int = 1, eps: float = 1e-8) -> Form:
    """y[n] = Σ_s a[n,s] b[n,s] / (‖a[n]‖ ‖b[n]‖)"""
    form = pointwise(None, x1, x2)
    rows = list(form.dims) if isinstance(form, Aligned) else []
    del rows[dim]
    return Aligned(tuple(rows))


@op_rule(aten.cdist.default)
def cdist(x1: Operand, x2: Operand, *options: Any) -> Form:
    """y[n,i,j] = ‖a[n,i,:] − b[n,j,:]‖"""
    batch = [[(x1, d), (x2, d)] for d in range(x1.ndim - 2)] if x1.ndim == x2.ndim else []
    return aligned(*batch, [(x1, x1.ndim - 2)], [(x2, x2.ndim - 2)])
