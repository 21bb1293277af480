"""Samples of normalisations."""

from sampling import fixed, n, of, positive, real

from clipcompiler.dsl import aten

EPS = 1e-5


def shift_of(c, weight):
    """A bias; torch has no derivative for it without a weight."""
    return real(c) if weight else fixed(real(c))


def batch_norm(*shape, weight=True, bias=True):
    """Batch norm by running statistics."""
    c = shape[1]
    scale, shift = real(c) if weight else None, shift_of(c, weight) if bias else None
    return of(
        aten.batch_norm.default, real(*shape), scale, shift, fixed(real(c)), fixed(positive(c)), False, 0.1, EPS, False
    )


def batch_norm_training(*shape):
    """Batch norm by the statistics of the batch."""
    c = shape[1]
    return of(aten.batch_norm.default, real(*shape), real(c), real(c), None, None, True, 0.1, EPS, False, mixed=True)


def instance_norm(*shape, weight=True, bias=True):
    """Instance norm by the statistics of each channel."""
    c = shape[1]
    scale, shift = real(c) if weight else None, shift_of(c, weight) if bias else None
    return of(aten.instance_norm.default, real(*shape), scale, shift, None, None, True, 0.1, EPS, False)


def instance_norm_by_statistics(*shape):
    """Instance norm by running statistics."""
    c = shape[1]
    return of(
        aten.instance_norm.default,
        real(*shape),
        real(c),
        real(c),
        fixed(real(c)),
        fixed(positive(c)),
        False,
        0.1,
        EPS,
        False,
    )


SAMPLES = [
    of(aten.layer_norm.default, real(4, 3), [3], real(3), real(3)),
    of(aten.layer_norm.default, real(4, 3), [3], real(3)),
    of(aten.layer_norm.default, real(4, 3), [3], None, real(3)),
    of(aten.layer_norm.default, real(4, 3), [3]),
    of(aten.layer_norm.default, real(4, 2, 3), [3], real(3), real(3), 1e-3),
    of(aten.layer_norm.default, real(4, 2, 3), [2, 3], real(2, 3), real(2, 3)),
    of(aten.layer_norm.default, real(4, 6, 2, 3), [2, 3], real(2, 3), real(2, 3)),
    of(aten.layer_norm.default, real(4, 2, 1, 3), [2, 1, 3], real(2, 1, 3), real(2, 1, 3)),
    of(aten.layer_norm.default, real(3), [3], real(3), real(3)),
    of(aten.rms_norm.default, real(4, 3), [3], real(3)),
    of(aten.rms_norm.default, real(4, 2, 3), [3], real(3), 1e-3),
    of(aten.rms_norm.default, real(4, 2, 3), [2, 3], real(2, 3), EPS),
    of(aten.rms_norm.default, real(4, 2, 3), [3]),
    of(aten.group_norm.default, real(4, 6, 5), 2, real(6), real(6)),
    of(aten.group_norm.default, real(4, 6, 2, 3), 3, real(6), real(6), 1e-3),
    of(aten.group_norm.default, real(4, 6), 2, real(6), real(6)),
    of(aten.group_norm.default, real(4, 6, 2), 1, real(6)),
    of(aten.group_norm.default, real(4, 6, 2), 6, None, fixed(real(6))),
    of(aten.group_norm.default, real(4, 6, 2), 2),
    of(aten.group_norm.default, real(4, 2, 2, 2, 2), 2, real(2), real(2)),
    instance_norm(4, 3, 5),
    instance_norm(4, 3, 2, 3),
    instance_norm(4, 3, 2, 2, 2),
    instance_norm(4, 3, 5, bias=False),
    instance_norm(4, 3, 5, weight=False),
    instance_norm(4, 3, 5, weight=False, bias=False),
    instance_norm_by_statistics(4, 3, 5),
    batch_norm(4, 3),
    batch_norm(4, 3, 5),
    batch_norm(4, 3, 2, 2),
    batch_norm(4, 3, 2, 2, 2),
    batch_norm(4, 3, 5, weight=False),
    batch_norm(4, 3, 5, bias=False),
    batch_norm(4, 3, 5, weight=False, bias=False),
    batch_norm_training(n, 3),
    batch_norm_training(n, 3, 5),
    of(
        aten._native_batch_norm_legit_functional.default,
        *(real(n, 3), real(3), real(3), fixed(real(3)), fixed(positive(3))),
        *(True, 0.1, EPS),
        mixed=True,
    ),
    of(aten._native_batch_norm_legit.no_stats, real(n, 3, 2), real(3), real(3), True, 0.1, EPS, mixed=True),
]
