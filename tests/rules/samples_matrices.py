"""Samples of linear algebra of single matrices."""

from sampling import fixed, n, of, positive, real

from clipcompiler.dsl import aten

SQUARE = (
    aten.linalg_inv.default,
    aten.inverse.default,
    aten.matrix_exp.default,
    aten.linalg_qr.default,
    aten.linalg_lu.default,
    aten.linalg_pinv.atol_rtol_float,
    aten.linalg_pinv.atol_rtol_tensor,
)
NUMBERS = (aten.det.default, aten.linalg_det.default, aten.linalg_slogdet.default)
RANKS = (aten.linalg_matrix_rank.atol_rtol_float, aten.linalg_matrix_rank.atol_rtol_tensor)

SAMPLES = [
    *(of(op, real(4, 3, 3)) for op in SQUARE),
    *(of(op, real(n, 3), mixed=True) for op in (aten.linalg_qr.default, aten.linalg_pinv.atol_rtol_float)),
    of(aten.linalg_inv.default, real(4, 2, 3, 3)),
    of(aten.linalg_cholesky.default, positive(4, 1, 1)),
    of(aten.linalg_matrix_power.default, real(4, 3, 3), 3),
    of(aten.linalg_pinv.default, real(4, 3, 2), 1e-10),
    of(aten.linalg_householder_product.default, real(4, 3, 2), real(4, 2)),
    *(of(op, real(4, 3, 3)) for op in NUMBERS),
    of(aten.det.default, real(4, 2, 3, 3)),
    of(aten.logdet.default, fixed(real(4, 3, 3))),
    *(of(op, real(4, 3, 3)) for op in RANKS),
    of(aten.linalg_matrix_rank.default, real(4, 3, 3), 1e-3),
    of(aten.linalg_svdvals.default, real(4, 3, 2)),
    of(aten.linalg_eigvalsh.default, real(4, 3, 3)),
    of(aten.linalg_eigvals.default, fixed(real(4, 3, 3))),
    of(aten.linalg_matrix_norm.str_ord, real(3, 4, 2), "fro", [0, -1], True),
    of(aten.linalg_matrix_norm.str_ord, real(4, 3, 2)),
    of(aten.linalg_matrix_norm.str_ord, real(n, 3), mixed=True),
    of(aten.linalg_norm.ord_str, real(4, 3, 2), "nuc", [1, 2]),
    of(aten.linalg_norm.ord_str, real(n, 3), "fro", mixed=True),
    of(aten.linalg_solve.default, real(4, 3, 3), real(4, 3, 2)),
    of(aten.linalg_solve.default, real(4, 3, 3), real(4, 3)),
    of(aten.linalg_solve.default, real(4, 3, 3), real(3, 2)),
    of(aten.linalg_solve.default, real(3, 3), real(4, 3, 2)),
    of(aten.linalg_solve.default, real(4, 3, 3), real(3)),
    of(aten.linalg_solve_triangular.default, real(4, 3, 3), real(4, 3, 2), upper=True),
    of(aten.linalg_solve_triangular.default, real(3, 3), real(4, 3, 2), upper=False),
    of(aten.cholesky_solve.default, real(4, 3, 2), real(4, 3, 3)),
    of(aten.cholesky_solve.default, real(4, 3, 2), real(3, 3), True),
    of(aten.linalg_cross.default, real(4, 3), real(4, 3)),
    of(aten.linalg_cross.default, real(4, 3, 2), real(1, 3, 1), dim=-2),
    of(aten.cross.default, real(4, 3), real(4, 3), 1),
    of(aten.linalg_vander.default, real(4, 3), N=3),
]
