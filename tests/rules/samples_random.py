"""Samples of ops that draw at random."""

from sampling import n, of, positive, real, unit

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
    of(aten.rrelu_with_noise_functional.default, real(4, 3), real(4, 3), 0.1, 0.3, False),
    of(aten.cauchy.default, real(4, 3)),
    of(aten.geometric.default, real(4, 3), 0.5),
    of(aten.log_normal.default, real(4, 3)),
    of(aten.randint_like.default, real(4, 3), 5),
    of(aten.randint_like.low_dtype, real(4, 3), 2, 5),
    of(aten.normal.Tensor_float, real(4, 3), 0.5),
    of(aten.normal.float_Tensor, 0.5, positive(4, 3)),
    of(aten.normal.Tensor_Tensor, real(4, 3), positive(4, 3)),
    of(aten.randint.default, 5, [n, 3], out=(n, 3)),
    of(aten.randint.low, 2, 5, [3, n], out=(3, n)),
    of(aten.randint.default, n, [2], mixed=True),
    of(aten.randint.low, 0, n, [2], mixed=True),
    of(aten.multinomial.default, unit(4, 3), 2),
    of(aten.multinomial.default, unit(n), 2, mixed=True),
]
