"""Samples of softmax and its family."""

from sampling import of, real

from clipcompiler.dsl import aten

SAMPLES = [
    of(aten.softmax.int, real(4, 3), 1),
    of(aten.softmax.int, real(4, 3, 5), 1),
    of(aten.softmax.int, real(4, 3, 5), -1),
    of(aten.softmax.int, real(3, 4), 0),
    of(aten.log_softmax.int, real(4, 3), -1),
    of(aten.log_softmax.int, real(4, 3, 5), 1),
    of(aten._softmax.default, real(4, 3), 1, False),
    of(aten._log_softmax.default, real(4, 3), -1, False),
    of(aten.glu.default, real(4, 6)),
    of(aten.glu.default, real(4, 6, 5), 1),
    of(aten.glu.default, real(4, 3, 2), -1),
    of(aten.special_softmax.default, real(4, 3), 1),
    of(aten.special_log_softmax.default, real(4, 3, 5), -2),
]
