"""Samples of copies, casts and writes into a part of a value."""

import torch
from sampling import n, of, real

from clipcompiler.dsl import aten

LARGE = 9223372036854775807

SAMPLES = [
    of(aten.detach.default, real(4, 3)),
    of(aten._to_copy.default, real(4, 3), dtype=torch.float64),
    of(aten.clone.default, real(4, 3)),
    of(aten.clone.default, real(4, 2, 3, 3), memory_format=torch.channels_last),
    of(aten.contiguous.default, real(4, 3)),
    of(aten.alias.default, real(4, 3)),
    of(aten.lift_fresh_copy.default, real(4, 3)),
    of(aten.copy.default, real(n, 3), real(n, 3), out=(n, 3)),
    of(aten.copy.default, real(n, 3), real(3), out=(n, 3)),
    of(aten.copy.default, real(n, 2, 3), real(2, 1), out=(n, 2, 3)),
    of(aten.fill.Tensor, real(n, 3), real(), out=(n, 3)),
    of(aten.slice_scatter.default, real(4, 5), real(4, 2), 1, 1, 3),
    of(aten.slice_scatter.default, real(4, 5), real(4, 3), 1, 0, 5, 2),
    of(aten.slice_scatter.default, real(n, 5), real(n, 5), 0, 0, LARGE, out=(n, 5)),
    of(aten.select_scatter.default, real(4, 5, 3), real(4, 3), 1, 2),
    of(aten.select_scatter.default, real(5, 4, 3), real(4, 3), 0, 2),
]
