"""Samples of element-by-element ops: those with a formula, and a broad list of those known by their tag alone."""

from sampling import fixed, of, positive, real, truth, unit, whole

from clipcompiler.dsl import aten

FORMULAS = [
    of(aten.add.Tensor, real(4, 3), real(4, 3)),
    of(aten.add.Tensor, real(4, 3), real(3)),
    of(aten.add.Tensor, real(4, 1), real(5)),
    of(aten.add.Tensor, real(2, 4, 3), real(4, 1), alpha=-2),
    of(aten.add.Tensor, real(4, 3), 2.5),
    of(aten.add.Tensor, real(3), real(4, 3), alpha=0.5),
    of(aten.add.Tensor, real(4, 3), real()),
    of(aten.add.Tensor, real(4, 3), real(3), alpha=0),
    of(aten.sub.Tensor, real(4, 3), real(3)),
    of(aten.sub.Tensor, real(3), real(4, 2, 3), alpha=2),
    of(aten.sub.Tensor, real(4, 3), 1),
    of(aten.mul.Tensor, real(4, 3), real(4, 3)),
    of(aten.mul.Tensor, real(4, 3), real(3)),
    of(aten.mul.Tensor, real(4, 3), real(1)),
    of(aten.mul.Tensor, real(4, 3), real()),
    of(aten.mul.Tensor, real(4, 2, 3), real(2, 1)),
    of(aten.mul.Tensor, real(4, 1, 3), real(2, 1)),
    of(aten.mul.Tensor, real(2, 3), real(4, 1, 3)),
    of(aten.mul.Tensor, real(4, 2, 3), real(1, 2, 3)),
    of(aten.mul.Tensor, real(4, 3), 2.5),
    of(aten.mul.Tensor, whole(4, 3, below=4), real(3)),
    of(aten.mul.Tensor, truth(4, 3), real(3)),
    of(aten.div.Tensor, real(4, 3), positive(3)),
    of(aten.div.Tensor, real(3), positive(4, 3)),
    of(aten.div.Tensor, real(4, 2, 3), positive(2, 1)),
    of(aten.div.Tensor, real(4, 3), 4),
    of(aten.div.Tensor, whole(4, 3, below=4), positive(3)),
    of(aten.neg.default, real(4, 3)),
    of(aten.prelu.default, real(4, 3), real(3)),
    of(aten.prelu.default, real(4, 3, 5), real(3)),
    of(aten.prelu.default, real(4, 3, 2, 2), real(3)),
    of(aten.prelu.default, real(4, 3, 5), real(1)),
    of(aten.prelu.default, real(4, 1, 5), real(1)),
    of(aten.prelu.default, real(4), real(1)),
    of(aten.prelu.default, real(4, 3), real()),
]

#: Differentiable anywhere on the real line.
UNARY = (
    aten.abs, aten.asinh, aten.atan, aten.ceil, aten.cos,
    aten.cosh, aten.deg2rad, aten.erf, aten.erfc, aten.exp, aten.exp2, aten.expm1, aten.floor, aten.frac, aten.gelu,
    aten.hardsigmoid, aten.hardswish, aten.hardtanh, aten.log_sigmoid, aten.mish, aten.positive, aten.rad2deg,
    aten.relu, aten.relu6, aten.round, aten.selu, aten.sigmoid, aten.sign, aten.silu, aten.sin, aten.sinc, aten.sinh,
    aten.softplus, aten.square, aten.tan, aten.tanh, aten.trunc, aten.celu, aten.elu, aten.hardshrink, aten.leaky_relu,
    aten.nan_to_num, aten.softshrink, aten.isnan, aten.isinf, aten.logical_not, aten.sgn,
    aten.special_erfcx, aten.special_i0e,
)  # fmt: skip
#: Differentiable for numbers between ½ and 1½.
OF_POSITIVE = (
    aten.digamma, aten.lgamma, aten.log, aten.log10, aten.log1p, aten.log2, aten.reciprocal, aten.rsqrt, aten.sqrt,
    aten.special_entr,
)  # fmt: skip
#: Differentiable for numbers between 0 and 1.
OF_UNIT = (aten.acos, aten.asin, aten.atanh, aten.erfinv, aten.logit)
#: Of two tensors that broadcast.
BINARY = (
    aten.atan2.default, aten.copysign.Tensor, aten.fmax.default, aten.fmin.default, aten.hypot.default,
    aten.logaddexp.default, aten.logaddexp2.default, aten.max.other, aten.maximum.default, aten.min.other,
    aten.minimum.default, aten.remainder.Tensor, aten.fmod.Tensor, aten.eq.Tensor, aten.ge.Tensor, aten.lt.Tensor,
    aten.ne.Tensor, aten.logical_and.default, aten.ldexp.Tensor,
)  # fmt: skip
#: Of two tensors that broadcast, without a derivative.
WITHOUT_DERIVATIVE = (aten.heaviside.default, aten.nextafter.default)

TAGGED = [
    *(of(packet.default, real(4, 3)) for packet in dict.fromkeys(UNARY)),
    *(of(packet.default, positive(4, 3)) for packet in OF_POSITIVE),
    *(of(packet.default, unit(4, 3)) for packet in OF_UNIT),
    *(of(op, real(4, 3), real(3)) for op in BINARY),
    *(of(op, fixed(real(4, 3)), fixed(real(3))) for op in WITHOUT_DERIVATIVE),
    *(of(op, real(2, 1), real(4, 1, 3)) for op in BINARY[:9]),
    of(aten.add.Scalar, real(4, 3), 2, 3),
    of(aten.mul.Scalar, real(4, 3), 2),
    of(aten.div.Scalar, real(4, 3), 2),
    of(aten.sub.Scalar, real(4, 3), 2),
    of(aten.sub.Scalar, real(4, 3), 2, 3),
    of(aten.rsub.Scalar, real(4, 3), 2),
    of(aten.rsub.Scalar, real(4, 3), 2, 3),
    of(aten.div.Tensor_mode, real(4, 3), positive(3), rounding_mode="floor"),
    of(aten.pow.Tensor_Tensor, positive(4, 3), real(3)),
    of(aten.pow.Tensor_Tensor, positive(3), real(4, 3)),
    of(aten.pow.Tensor_Scalar, real(4, 3), 3),
    of(aten.pow.Scalar, 2, real(4, 3)),
    of(aten.xlogy.Tensor, real(4, 3), positive(3)),
    of(aten.clamp.default, real(4, 3), -0.5, 0.5),
    of(aten.clamp.Tensor, real(4, 3), real(3), None),
    of(aten.clamp.Tensor, real(4, 3), None, real(3)),
    of(aten.clamp.Tensor, real(4, 3), real(3), positive(3)),
    of(aten.clamp_min.Tensor, real(4, 3), real(3)),
    of(aten.clamp_max.Tensor, real(4, 3), real(1)),
    of(aten.where.self, truth(4, 3), real(4, 3), real(3)),
    of(aten.where.self, truth(3), real(4, 3), real()),
    of(aten.where.self, truth(4, 1), real(3), real(3)),
    of(aten.where.ScalarOther, truth(4, 3), real(3), 0.5),
    of(aten.where.ScalarSelf, truth(4, 3), 0.5, real(3)),
    of(aten.where.Scalar, truth(4, 3), 0.5, 1.5),
    of(aten.masked_fill.Scalar, real(4, 3), truth(3), 0.5),
    of(aten.masked_fill.Scalar, real(4, 3), truth(4, 1), 0.5),
    of(aten.masked_fill.Tensor, real(4, 3), truth(3), real()),
    of(aten.masked_fill.Tensor, real(4, 3), truth(4, 1), fixed(real())),
    of(aten.floor_divide.default, fixed(real(4, 3)), fixed(positive(3))),
    of(aten.lerp.Scalar, real(4, 3), real(3), 0.3),
    of(aten.lerp.Tensor, real(4, 3), real(3), unit(3)),
    of(aten.lerp.Tensor, real(3), real(3), unit(4, 1)),
    of(aten.addcmul.default, real(4, 3), real(3), real(3), value=2),
    of(aten.addcmul.default, real(3), real(4, 1), real(3)),
    of(aten.addcdiv.default, real(4, 3), real(3), positive(3), value=0.5),
    of(aten.threshold.default, real(4, 3), 0.1, 0.2),
    of(aten.frexp.Tensor, real(4, 3)),
    of(aten.bitwise_and.Tensor, truth(4, 3), truth(3)),
    of(aten.logit.default, unit(4, 3), 0.2),
    of(aten.gelu.default, real(4, 3), approximate="tanh"),
    of(aten.isclose.default, real(4, 3), real(3)),
    of(aten.__and__.Tensor, truth(4, 3), truth(3)),
    of(aten.__and__.Scalar, truth(4, 3), True),
    of(aten.__or__.Tensor, truth(4, 3), truth(3)),
    of(aten.__or__.Scalar, truth(4, 3), False),
]

SAMPLES = FORMULAS + TAGGED
