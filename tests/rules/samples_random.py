"""Samples of ops that draw at random."""

from sampling import of, positive, real, unit

from clipcompiler.dsl import aten

SAMPLES = [
    of(aten.native_dropout.default, real(4, 3), 0.5, True),
    of(aten.dropout.default, real(4, 3), 0.5, True),
    of(aten.dropout.default, real(4, 3), 0.5, False),
    of(aten.bernoulli.p, real(4, 3), 0.5),
    of(aten.bernoulli.default, unit(4, 3)),
    of(aten.exponential.default, real(4, 3)),
    of(aten.normal_functional.default, real(4, 3)),
    of(aten.uniform.default, real(4, 3)),
    of(aten.rrelu.default, real(4, 3)),
    of(aten.rrelu.default, real(4, 3), 0.1, 0.3, True),
    of(aten.rrelu_with_noise_functional.default, real(4, 3), real(4, 3), 0.1, 0.3, True),
    of(aten.poisson.default, positive(4, 3)),
]
