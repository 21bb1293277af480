"""Ops that sum, average or pick along dims."""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import ABSENT, Aligned, Form, Operand, aligned, aten, mixes, op_rule, pointwise, reduces


@op_rule(
    aten.sum.default, aten.mean.default, aten.prod.default, aten.max.default, aten.min.default,
    aten.any.default, aten.all.default, aten.std.default, aten.var.default, aten.median.default,
)  # fmt: skip
def total(self: Operand, *options: Any, **more: Any) -> Form:
    """y = Σ_s x[s], or the mean, product, extreme, … over every dim"""
    return reduces(self, None)


@op_rule(
    aten.sum.dim_IntList, aten.mean.dim, aten.amax.default, aten.amin.default, aten.logsumexp.default,
    aten.nansum.default, aten.nanmean.default, aten.count_nonzero.dim_IntList,
)  # fmt: skip
def sum(self: Operand, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Form:
    """y[n] = Σ_s x[n,s], or the mean or extreme, over the dims named (none named: all)"""
    return reduces(self, dim, keepdim)


@op_rule(aten.any.dims, aten.all.dims)
def truth(self: Operand, dim: Sequence[int] | None = None, keepdim: bool = False) -> Form:
    """y[n] = whether any, or all, of x[n,:] are true (an empty list of dims: element by element)"""
    return mixes(self, []) if dim is not None and not dim else reduces(self, dim, keepdim)


@op_rule(aten.std.correction, aten.var.correction, aten.std_mean.correction, aten.var_mean.correction)
def variance(self: Operand, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Form:
    """y[n] = Σ_s (x[n,s] − x̄[n])² / (S − correction), or its root; and the mean"""
    return reduces(self, dim, keepdim)


@op_rule(aten.std.dim, aten.var.dim, aten.std_mean.dim, aten.var_mean.dim)
def variance_unbiased(self: Operand, dim: Any = None, unbiased: bool = True, keepdim: bool = False) -> Form:
    """y[n] = Σ_s (x[n,s] − x̄[n])² / (S − 1), or its root; and the mean"""
    return reduces(self, dim, keepdim)


@op_rule(
    aten.max.dim, aten.min.dim, aten.median.dim, aten.argmax.default, aten.argmin.default, aten.prod.dim_int,
    aten.any.dim, aten.all.dim, aten.nanmedian.dim, aten.count_nonzero.default,
)  # fmt: skip
def extreme(self: Operand, dim: int | None = None, keepdim: bool = False, **more: Any) -> Form:
    """y[n] = max_s x[n,s] and where it is, or a product, or a truth, along one dim"""
    return reduces(self, None if dim is None else [dim], keepdim)


@op_rule(aten.aminmax.default)
def extremes(self: Operand, *, dim: int | None = None, keepdim: bool = False) -> Form:
    """y[n] = min_s x[n,s], and max_s x[n,s]"""
    return reduces(self, None if dim is None else [dim], keepdim)


@op_rule(aten.mode.default)
def mode(self: Operand, dim: int = -1, keepdim: bool = False) -> Form:
    """y[n] = the most frequent of x[n,:], and where it is"""
    return reduces(self, [dim], keepdim)


@op_rule(aten.kthvalue.default)
def kthvalue(self: Operand, k: int, dim: int = -1, keepdim: bool = False) -> Form:
    """y[n] = the k-th smallest of x[n,:], and where it is"""
    return reduces(self, [dim], keepdim)


@op_rule(aten.linalg_vector_norm.default, aten.linalg_norm.default, aten.norm.ScalarOpt_dim)
def norm(self: Operand, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Form:
    """y[n] = (Σ_s |x[n,s]|^p)^(1/p)"""
    return reduces(self, dim, keepdim)


@op_rule(aten.cumsum.default, aten.cumprod.default, aten.logcumsumexp.default, aten.cummax.default, aten.cummin.default)
def cumulate(self: Operand, dim: int, *, dtype: Any = None) -> Form:
    """y[n,s] = Σ_{t ≤ s} x[n,t], or the product or extreme so far"""
    return mixes(self, [dim])


@op_rule(aten.sort.default, aten.argsort.default)
def sort(self: Operand, dim: int = -1, descending: bool = False) -> Form:
    """y[n,:] = x[n,:] in order, and the order"""
    return mixes(self, [dim])


@op_rule(aten.sort.stable)
def sort_stably(self: Operand, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Form:
    """y[n,:] = x[n,:] in order, equal elements in their own, and the order"""
    return mixes(self, [dim])


@op_rule(aten.msort.default)
def msort(self: Operand) -> Form:
    """y[:,s] = x[:,s] in order, along dim 0"""
    return mixes(self, [0])


@op_rule(aten.quantile.scalar, aten.nanquantile.scalar)
def quantile(self: Operand, q: float, dim: int | None = None, keepdim: bool = False, **more: Any) -> Form:
    """y[n] = the q-quantile of x[n,:]"""
    return reduces(self, None if dim is None else [dim], keepdim)


@op_rule(aten.renorm.default)
def renorm(self: Operand, p: float, dim: int, maxnorm: float) -> Form:
    """y[n,:] = x[n,:] min(1, C / ‖x[n,:]‖), n the one dim named"""
    return mixes(self, [d for d in range(self.ndim) if d != dim % self.ndim])


@op_rule(aten.trapezoid.dx, aten.trapezoid.x)
def trapezoid(y: Operand, x: Any = None, *, dx: float = 1, dim: int = -1) -> Form:
    """y[n] = Σ_s ½ (x[n,s] + x[n,s+1]) Δ[s]"""
    gone = dim % y.ndim
    return aligned(*([(o, d) for o in same_dims(y, x)] for d in range(y.ndim) if d != gone))


@op_rule(aten.cumulative_trapezoid.dx, aten.cumulative_trapezoid.x)
def cumulative_trapezoid(y: Operand, x: Any = None, *, dx: float = 1, dim: int = -1) -> Form:
    """y[n,t] = Σ_{s ≤ t} ½ (x[n,s] + x[n,s+1]) Δ[s]"""
    return mixes(y, [dim], *same_dims(y, x)[1:])


def same_dims(y: Operand, x: Any) -> list[Operand]:
    """y, and x where it has the dims of y."""
    return [y, x] if isinstance(x, Operand) and x.shape == y.shape else [y]


@op_rule(aten.diff.default)
def diff(self: Operand, n: int = 1, dim: int = -1, prepend: Any = ABSENT, append: Any = ABSENT) -> Form:
    """y[n,s] = x[n,s+1] − x[n,s] along one dim"""
    return mixes(self, [dim], prepend, append)


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


@op_rule(aten.pairwise_distance.default)
def pairwise_distance(x1: Operand, x2: Operand, p: float = 2, eps: float = 1e-6, keepdim: bool = False) -> Form:
    """y[n] = ‖a[n,:] − b[n,:] + ε‖_p"""
    form = pointwise(None, x1, x2)
    rows = form.dims[:-1] if isinstance(form, Aligned) else ()
    return Aligned((*rows, ()) if keepdim else rows)


@op_rule(aten.linalg_vecdot.default)
def vecdot(x: Operand, y: Operand, *, dim: int = -1) -> Form:
    """y[n] = Σ_s a[n,s] b[n,s] along one dim"""
    form = pointwise(None, x, y)
    rows = list(form.dims) if isinstance(form, Aligned) else []
    del rows[dim]
    return Aligned(tuple(rows))


@op_rule(aten.cdist.default)
def cdist(x1: Operand, x2: Operand, *options: Any) -> Form:
    """y[n,i,j] = ‖a[n,i,:] − b[n,j,:]‖"""
    form = pointwise(None, *(Operand(x.name, x.shape[:-2]) for x in (x1, x2)))
    batch = form.dims if isinstance(form, Aligned) else ()
    return Aligned((*batch, ((x1.name, x1.ndim - 2),), ((x2.name, x2.ndim - 2),)))
