"""Samples of ops that look values up by index."""

from sampling import n, of, real, whole

from clipcompiler.dsl import aten

SAMPLES = [
    of(aten.index.Tensor, real(6, 3), [whole(4, below=6)]),
    of(aten.index.Tensor, real(6, 3), [whole(4, 2, below=6)]),
    of(aten.index.Tensor, real(4, 6, 3), [None, whole(5, below=6)]),
    of(aten.index.Tensor, real(6, 3, 2), [whole(4, below=6), whole(4, below=3)]),
    of(aten.index.Tensor, real(6, 3, 2), [whole(4, 1, below=6), whole(5, below=3)]),
    of(aten.index.Tensor, real(6, 4, 3), [whole(5, below=6), None, whole(5, below=3)]),
    of(aten.index.Tensor, real(4, 6, 3, 2), [None, whole(5, below=6), whole(5, below=3)]),
    of(aten.embedding.default, real(6, 3), whole(4, below=6)),
    of(aten.embedding.default, real(6, 3), whole(4, 5, below=6)),
    of(aten.embedding.default, real(6, 3), whole(4, 5, 2, below=6), 0),
    of(aten.index_select.default, real(6, 4), 0, whole(5, below=6)),
    of(aten.index_select.default, real(4, 6, 3), -2, whole(5, below=6)),
    of(aten.one_hot.default, whole(4, 3, below=5), 5),
    of(aten.tril.default, real(4, 3, 5)),
    of(aten.triu.default, real(4, 3, 5), 1),
    of(aten.unfold.default, real(4, 7), 1, 3, 2),
    of(aten.unfold.default, real(4, 7, 3), -2, 3, 1),
    of(aten.im2col.default, real(4, 2, 5, 5), [2, 3], [1, 1], [1, 0], [2, 1]),
    of(aten.im2col.default, real(2, 5, 5), [2, 3], [1, 1], [1, 0], [2, 1]),
    of(aten.isin.Tensor_Tensor, whole(4, 3, below=5), whole(2, below=5)),
    of(aten.isin.Tensor_Tensor, whole(3, below=5), whole(n, below=5), mixed=True),
    of(aten.bucketize.Tensor, real(4, 3), real(5)),
    of(aten.searchsorted.Tensor, real(5), real(4, 3)),
    of(aten.searchsorted.Tensor, real(4, 5), real(4, 3)),
    of(aten.searchsorted.Tensor, real(4, 1), real(4, 3), right=True),
]
