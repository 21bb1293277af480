"""Linear algebra of single matrices, which lie in the last two dims: each op keeps the dims before apart.

No formula is stated: a parameter inside a factorisation has no derived gradient. In front of one it has.
"""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import Aligned, Form, Operand, aligned, aten, mixes, op_rule, pointwise, reduces


def batch_of(*operands: Operand, inner: int) -> Form:
    """The dims before the last two of every operand, broadcast; then ``inner`` dims that mix."""
    form = pointwise(None, *(Operand(o.name, o.shape[:-2]) for o in operands))
    rows = form.dims if isinstance(form, Aligned) else ()
    return Aligned((*rows, *((),) * inner))


@op_rule(
    aten.linalg_inv.default, aten.inverse.default, aten.linalg_cholesky.default, aten.matrix_exp.default,
    aten.linalg_matrix_power.default, aten.linalg_pinv.default, aten.linalg_pinv.atol_rtol_float,
    aten.linalg_pinv.atol_rtol_tensor, aten.linalg_qr.default, aten.linalg_lu.default,
)  # fmt: skip
def of_a_matrix(self: Operand, *options: Any, **more: Any) -> Form:
    """y[n,:,:] = f(x[n,:,:]): inverse, exponential, power, or factors"""
    return mixes(self, [-2, -1])


@op_rule(
    aten.det.default, aten.linalg_det.default, aten.logdet.default, aten.linalg_slogdet.default,
    aten.linalg_matrix_rank.default, aten.linalg_matrix_rank.atol_rtol_float,
    aten.linalg_matrix_rank.atol_rtol_tensor,
)  # fmt: skip
def number_of_a_matrix(self: Operand, *options: Any, **more: Any) -> Form:
    """y[n] = f(x[n,:,:]): determinant or rank"""
    return reduces(self, [-2, -1])


@op_rule(aten.linalg_svdvals.default, aten.linalg_eigvalsh.default, aten.linalg_eigvals.default)
def spectrum(self: Operand, *options: Any, **more: Any) -> Form:
    """y[n,:] = the singular values or eigenvalues of x[n,:,:]"""
    return batch_of(self, inner=1)


@op_rule(aten.linalg_matrix_norm.str_ord)
def matrix_norm(
    self: Operand, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Form:
    """y[n] = ‖x[n,:,:]‖, the matrices in the two dims named"""
    return reduces(self, dim, keepdim)


@op_rule(aten.linalg_norm.ord_str)
def norm_by_name(self: Operand, ord: str, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Form:
    """y[n] = ‖x[n,:,:]‖, Frobenius or nuclear"""
    return reduces(self, dim, keepdim)


@op_rule(aten.linalg_solve.default)
def solve(A: Operand, B: Operand, *, left: bool = True) -> Form:
    """y[n,:,:] = A[n,:,:]⁻¹ B[n,:,:], or of a vector B[n,:]"""
    if B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]):
        return batch_of(A, Operand(B.name, (*B.shape, 1)), inner=1)
    return batch_of(A, B, inner=2)


@op_rule(aten.linalg_solve_triangular.default, aten.cholesky_solve.default)
def solve_triangular(self: Operand, other: Operand, *options: Any, **more: Any) -> Form:
    """y[n,:,:] = A[n,:,:]⁻¹ b[n,:,:], for a triangular A, or one given by its factor"""
    return batch_of(self, other, inner=2)


@op_rule(aten.linalg_householder_product.default)
def reflections(input: Operand, tau: Operand) -> Form:
    """y[n,:,:] = Π_k (1 − τ[n,k] v_k v_kᵀ), v_k from the columns of x[n,:,:]"""
    return aligned(*([(input, d), (tau, d)] for d in range(input.ndim - 2)), [], [])


@op_rule(aten.linalg_cross.default, aten.cross.default)
def cross(self: Operand, other: Operand, dim: int | None = -1) -> Form:
    """y[n,:] = a[n,:] × b[n,:] along one dim of extent 3"""
    if dim is None:
        raise ValueError("name the dim, as in torch.linalg.cross; the first one of extent 3 may be the batch")
    form = pointwise(None, self, other)
    rows = list(form.dims) if isinstance(form, Aligned) else []
    rows[dim] = ()
    return Aligned(tuple(rows))


@op_rule(aten.linalg_vander.default)
def vander(self: Operand, *options: Any, **more: Any) -> Form:
    """y[n,i,k] = x[n,i]^k"""
    return aligned(*([(self, d)] for d in range(self.ndim)), [])
