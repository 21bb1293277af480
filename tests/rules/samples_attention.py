"""Samples of attention."""

from sampling import fixed, n, of, real, truth

from clipcompiler.dsl import aten

attention = aten.scaled_dot_product_attention.default

SAMPLES = [
    of(attention, real(4, 6, 2), real(4, 5, 2), real(4, 5, 3)),
    of(attention, real(4, 2, 6, 3), real(4, 2, 5, 3), real(4, 2, 5, 3), scale=0.5),
    of(attention, real(4, 2, 6, 3), real(4, 2, 6, 3), real(4, 2, 6, 3), None, 0.0, True),
    of(attention, real(4, 2, 6, 3), real(4, 2, 5, 3), real(4, 2, 5, 3), fixed(real(4, 1, 6, 5))),
    of(attention, real(4, 2, 6, 3), real(4, 2, 5, 3), real(4, 2, 5, 3), fixed(real(1, 5))),
    of(attention, real(4, 2, 6, 3), real(2, 5, 3), real(2, 5, 3)),
    of(attention, real(2, n, 3), real(2, n, 3), real(2, n, 3), mixed=True),
    of(attention, real(2, n, 3), real(2, n, 3), real(2, n, 3), None, 0.0, True, mixed=True),
    of(attention, real(2, 6, 3), real(2, n, 3), real(2, n, 3), truth(6, n), mixed=True),
]
