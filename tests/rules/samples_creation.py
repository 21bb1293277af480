"""Samples of values made from sizes: a sample is the call with the batch size among the sizes, where it may be."""

import torch
from sampling import n, of, real

from clipcompiler.dsl import aten



SAMPLES = [
    of(aten.zeros.default, [n, 3], out=(n, 3)),
    of(aten.zeros.default, [2 * n, 3], mixed=True),
    of(aten.ones.default, [n, 3], out=(n, 3)),
    of(aten.ones.default, [n, n], mixed=True),
    of(aten.empty.memory_format, [n, 3], out=(n, 3)),
    of(aten.rand.default, [n, 3], out=(n, 3)),
    of(aten.randn.default, [2, n], out=(2, n)),
    of(aten.full.default, [n, 3], 0.5, out=(n, 3)),
    of(aten.full.default, [n, 3], n, mixed=True),
    of(aten.full.default, [], n, mixed=True),
    of(aten.new_zeros.default, real(n, 2), [n, 3], out=(n, 3)),
    of(aten.new_ones.default, real(n, 2), [3, n], out=(3, n)),
    of(aten.new_empty.default, real(n, 2), [n], out=(n,)),
    of(aten.new_full.default, real(n, 2), [n, 3], 0.5, out=(n, 3)),
    of(aten.new_full.default, real(n, 2), [3], n, mixed=True),
    of(aten.arange.default, 5),
    of(aten.arange.default, n, mixed=True),
    of(aten.arange.start, 1, 5),
    of(aten.arange.start, 1, n, mixed=True),
    of(aten.arange.start_step, 1, 9, 2),
    of(aten.arange.start_step, 0, n, 2, mixed=True),
    of(aten.linspace.default, 0.0, 1.0, 5),
    of(aten.linspace.default, 0.0, 1.0, n, mixed=True),
    of(aten.scalar_tensor.default, 0.5),
    of(aten.scalar_tensor.default, n, mixed=True),
    of(aten.eye.default, 3),
    of(aten.eye.default, n, mixed=True),
    of(aten.eye.m, 3, 4),
    of(aten.eye.m, n, 4, mixed=True),
    of(aten.tril_indices.default, 3, 4),
    of(aten.tril_indices.default, n, 4, mixed=True),
    of(aten.triu_indices.default, 3, 4),
    of(aten.triu_indices.default, 4, n, mixed=True),
    of(aten.zeros_like.default, real(4, 3)),
    of(aten.ones_like.default, real(4, 3)),
    of(aten.full_like.default, real(4, 3), 0.5),
    of(aten.full_like.default, real(n, 3), n, mixed=True),
    of(aten.fill.Scalar, real(4, 3), 0.5),
    of(aten.fill.Scalar, real(n, 3), n, mixed=True),
    of(aten.empty_like.default, real(4, 3)),
    of(aten.rand_like.default, real(4, 3)),
    of(aten.randn_like.default, real(4, 3)),
]
