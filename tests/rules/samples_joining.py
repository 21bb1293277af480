"""Samples of ops that put values one after another."""

from sampling import n, of, real

from clipcompiler.dsl import aten

SAMPLES = [
    of(aten.hstack.default, [real(4, 3), real(4, 2)]),
    of(aten.hstack.default, [real(4, 3, 2), real(4, 1, 2)]),
    of(aten.hstack.default, [real(n), real(2)], mixed=True),
    of(aten.vstack.default, [real(2, 3), real(1, 3)]),
    of(aten.vstack.default, [real(3), real(3)]),
    of(aten.vstack.default, [real(n, 3), real(n, 3)], mixed=True),
    of(aten.dstack.default, [real(4, 3, 2), real(4, 3, 5)]),
    of(aten.dstack.default, [real(4, 3), real(4, 3)]),
    of(aten.dstack.default, [real(3), real(3)]),
    of(aten.column_stack.default, [real(4, 3), real(4, 2)]),
    of(aten.column_stack.default, [real(4), real(4)]),
]
