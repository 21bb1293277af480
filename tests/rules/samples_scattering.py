"""Samples of ops that write values to places given by indices."""

from sampling import fixed, n, of, real, truth, whole

from clipcompiler.dsl import aten

PLACES = whole(2, below=3)
COLUMNS = whole(4, 2, below=3)

SAMPLES = [
    of(aten.scatter.src, real(4, 3), 1, COLUMNS, real(4, 2)),
    of(aten.scatter.src, real(4, 5, 3), -1, whole(4, 5, 2, below=3), real(4, 5, 2)),
    of(aten.scatter.src, real(4, 3, 5), 1, whole(4, 2, 5, below=3), real(4, 2, 5)),
    of(aten.scatter.src, real(n, 3), 0, whole(n, 3, below=1), real(n, 3), mixed=True),
    of(aten.scatter.src, real(5, 3), 0, whole(n, 3, below=1), real(n, 3), mixed=True),
    of(aten.scatter.src, real(n, 3), 0, whole(2, 3, below=1), real(2, 3), mixed=True),
    of(aten.scatter.src, real(n, 6), 1, whole(2, 3, below=1), real(2, 3), mixed=True),
    of(aten.scatter.value, real(4, 3), 1, COLUMNS, 0.5),
    of(aten.scatter.value, real(n, 3), 0, whole(n, 3, below=1), 0.5, mixed=True),
    of(aten.scatter.reduce, fixed(real(4, 3)), 1, COLUMNS, fixed(real(4, 2)), reduce="add"),
    of(aten.scatter.value_reduce, fixed(real(4, 3)), 1, COLUMNS, 2.0, reduce="multiply"),
    of(aten.scatter_add.default, real(4, 3), 1, COLUMNS, real(4, 2)),
    of(aten.scatter_add.default, real(n, 3), 0, whole(n, 3, below=1), real(n, 3), mixed=True),
    of(aten.scatter_reduce.two, real(4, 3), 1, COLUMNS, real(4, 2), "amax"),
    of(aten.scatter_reduce.two, real(4, 3), -1, COLUMNS, real(4, 2), "mean", include_self=False),
    of(aten.index_add.default, real(4, 3), 1, PLACES, real(4, 2)),
    of(aten.index_add.default, real(4, 3, 5), 1, PLACES, real(4, 2, 5), alpha=0.5),
    of(aten.index_add.default, real(n, 3), 0, whole(2, below=1), real(2, 3), mixed=True),
    of(aten.index_add.default, real(5, 3), 0, whole(n, below=5), real(n, 3), mixed=True),
    of(aten.index_copy.default, real(4, 3), 1, PLACES, real(4, 2)),
    of(aten.index_copy.default, real(4, 3, 5), -1, PLACES, real(4, 3, 2)),
    of(aten.index_fill.int_Scalar, real(4, 3), 1, PLACES, 0.5),
    of(aten.index_fill.int_Scalar, real(n, 3), 0, whole(2, below=1), 0.5, mixed=True),
    of(aten.index_fill.int_Tensor, real(4, 3), 1, PLACES, real()),
    of(aten.index_reduce.default, real(4, 3), 1, PLACES, real(4, 2), "amax"),
    of(aten.index_put.default, real(4, 3), [None, PLACES], real(4, 2)),
    of(aten.index_put.default, real(4, 3), [None, PLACES], real(2), True),
    of(aten.index_put.default, real(4, 3), [None, PLACES], real()),
    of(aten.index_put.default, real(4, 3, 5), [None, PLACES], real(4, 2, 5)),
    of(aten.index_put.default, real(4, 3, 5), [None, None, PLACES], real(3, 2)),
    of(aten.index_put.default, real(3, 4, 6), [PLACES, None, PLACES], real(2, 4)),
    of(aten.index_put.default, real(4, 3, 6), [None, whole(2, 1, below=3), whole(5, below=3)], real(4, 2, 5)),
    of(aten.index_put.default, real(4, 3), [None, truth(3)], real()),
    of(aten.index_put.default, real(n, 3), [whole(2, below=1)], real(2, 3), mixed=True),
    of(aten.index_put.default, real(n, 3), [whole(n, below=1)], real(n, 3), mixed=True),
    of(aten.index_put.default, real(5, 3), [whole(n, below=5)], real(n, 3), True, mixed=True),
    of(aten.index_put.default, real(n, 3), [truth(n, 3)], real(), mixed=True),
    of(aten.masked_scatter.default, real(n, 3), truth(n, 3), real(n, 3), mixed=True),
    of(aten.diagonal_scatter.default, real(4, 3, 3), real(4, 3), 0, 1, 2),
    of(aten.diagonal_scatter.default, real(3, 4, 5), real(4, 3), 1, 0, -1),
]
