"""Samples of real and imaginary parts."""

from sampling import number, of, real

from clipcompiler.dsl import aten

SAMPLES = [
    of(aten.complex.default, real(4, 3), real(4, 3)),
    of(aten.complex.default, real(4, 3), real(3)),
    of(aten.polar.default, real(4, 3), real(4, 3)),
    of(aten.polar.default, real(4, 1), real(4, 3)),
    *(
        of(op, number(4, 3))
        for op in (
            aten.real.default,
            aten.imag.default,
            aten.conj.default,
            aten._conj.default,
            aten.view_as_real.default,
        )
    ),
    *(of(op, number(4, 3)) for op in (aten.resolve_conj.default, aten.resolve_neg.default, aten._neg_view.default)),
    of(aten.view_as_complex.default, real(4, 3, 2)),
]
