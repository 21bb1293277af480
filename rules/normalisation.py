"""Normalisations within an example, and batch norm by its running statistics.

x̂ is the input normalised, without scale and shift.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from clipcompiler.dsl import ABSENT, Form, Operand, aten, auxiliary, equation, indices, mixes, op_rule, out

n, c, s = indices("n c *s")


@op_rule(aten.layer_norm.default)
def layer_norm(
    input: Operand,
    normalized_shape: Sequence[int],
    weight: Any = ABSENT,
    bias: Any = ABSENT,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Form:
    """y[s,d] = x̂[s,d] W[d] + b[d],  x̂ = (x − mean_d x) / √(var_d x + ε)"""
    features = range(-len(normalized_shape), 0)
    if not weight and not bias:
        return mixes(input, features)
    d = indices(" ".join(f"d{k}" for k in range(len(normalized_shape))))
    x_hat = auxiliary("x̂", aten.layer_norm.default, input, normalized_shape, None, None, eps)
    return equation(out[(s, *d)], x_hat[(s, *d)] * (weight[d] if weight else 1) + bias[d], where=[x_hat])


@op_rule(aten.rms_norm.default)
def rms_norm(input: Operand, normalized_shape: Sequence[int], weight: Any = ABSENT, eps: Any = None) -> Form:
    """y[s,d] = x̂[s,d] W[d],  x̂ = x / √(mean_d x² + ε)"""
    if not weight:
        return mixes(input, range(-len(normalized_shape), 0))
    d = indices(" ".join(f"d{k}" for k in range(len(normalized_shape))))
    x_hat = auxiliary("x̂", aten.rms_norm.default, input, normalized_shape, None, eps)
    return equation(out[(s, *d)], x_hat[(s, *d)] * weight[d], where=[x_hat])


@op_rule(aten.group_norm.default)
def group_norm(
    input: Operand,
    num_groups: int,
    weight: Any = ABSENT,
    bias: Any = ABSENT,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Form:
    """y[n,c,s] = x̂[n,c,s] W[c] + b[c],  x̂ normalised over the channels of a group and all places"""
    if not weight and not bias:
        return mixes(input, range(1, input.ndim))
    x_hat = auxiliary("x̂", aten.group_norm.default, input, num_groups, None, None, eps)
    return equation(out[n, c, s], x_hat[n, c, s] * (weight[c] if weight else 1) + bias[c], where=[x_hat])


@op_rule(aten.instance_norm.default)
def instance_norm(
    input: Operand,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Form:
    """y[n,c,s] = x̂[n,c,s] W[c] + b[c],  x̂ normalised over the places of a channel, or by running statistics

    With both, the running statistics are updated from every example, though the op does not say so.
    """
    if not use_input_stats:
        return affine_by_statistics(input, weight, bias, running_mean, running_var, eps)
    if running_mean or running_var:
        return mixes(input, range(input.ndim))
    if not weight and not bias:
        return mixes(input, range(2, input.ndim))
    x_hat = auxiliary(
        "x̂", aten.instance_norm.default, input, None, None, None, None, True, momentum, eps, cudnn_enabled
    )
    return equation(out[n, c, s], x_hat[n, c, s] * (weight[c] if weight else 1) + bias[c], where=[x_hat])


@op_rule(aten.batch_norm.default)
def batch_norm(
    input: Operand,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Form:
    """y[n,c,s] = (x[n,c,s] − μ[c]) / √(σ²[c] + ε) · W[c] + b[c], by the running statistics (eval mode)"""
    if training:
        return mixes(input, [d for d in range(input.ndim) if d != 1])
    return affine_by_statistics(input, weight, bias, running_mean, running_var, eps)


@op_rule(aten._native_batch_norm_legit_functional.default, aten._native_batch_norm_legit.no_stats)
def batch_norm_of_the_batch(input: Operand, *statistics: Any) -> Form:
    """y[n,c,s] = (x[n,c,s] − mean_{n,s} x) / …: every example's output reads every example (training mode)"""
    return mixes(input, [d for d in range(input.ndim) if d != 1])


def affine_by_statistics(input: Operand, weight: Any, bias: Any, mean: Operand, var: Operand, eps: float) -> Form:
    """y[n,c,s] = (x[n,c,s] − μ[c]) (σ²[c] + ε)^(−1/2) W[c] + b[c]"""
    x_hat = (input[n, c, s] - mean[c]) * (var[c] + eps) ** sympy.Rational(-1, 2)
    return equation(out[n, c, s], x_hat * (weight[c] if weight else 1) + bias[c])
