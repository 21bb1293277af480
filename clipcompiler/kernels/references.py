"""What each kernel computes, in plain torch: the CPU path, and what the kernels are tested against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "convolution_sqnorm",
    "embedding_sqnorm",
    "gram_sqnorm",
    "gru_scan",
    "instantiate_sqnorm",
    "lstm_scan",
    "rnn_scan",
    "summed_in",
]


def summed_in(dtype: torch.dtype) -> torch.dtype:
    """Sums are in float32, of float64 in float64."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def wide(x: Tensor) -> Tensor:
    """A tensor in the dtype that sums are in."""
    return x.to(summed_in(x.dtype))


def gram_sqnorm(cotangents: Sequence[Tensor], x: Tensor, biases: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Σ_ss' (ȳ_s·ȳ_s')(x_s·x_s' + b) and Σ_s ‖ȳ_s‖²(‖x_s‖² + b), [C, N] each."""
    gram = wide(x) @ wide(x).mT
    ours = [wide(y) @ wide(y).mT for y in cotangents]
    products = [own * (gram + bias) for own, bias in zip(ours, biases, strict=True)]
    return (
        torch.stack([p.sum((1, 2)) for p in products]),
        torch.stack([p.diagonal(dim1=1, dim2=2).sum(1) for p in products]),
    )


def instantiate_sqnorm(y: Tensor, x: Tensor, bias: bool) -> Tensor:
    """Σ_oi (Σ_s ȳ[s,o] x[s,i])² + b Σ_o (Σ_s ȳ[s,o])², [N]."""
    return (wide(y).mT @ wide(x)).square().sum((1, 2)) + bias * wide(y).sum(1).square().sum(1)


def convolution_sqnorm(
    y: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    bias: bool,
) -> Tensor:
    """Σ_ock (Σ_u ȳ[o,u] x[c, u·stride + k·dilation − padding])² + b Σ_o (Σ_u ȳ[o,u])², [N].

    Each channel of each example is an image, and its cotangents are the filters: u and k change places.
    """
    examples, channels = x.shape[:2]
    outputs = y.shape[1]
    pads = [
        (p, (u - 1) * s + (k - 1) * d + 1 - size - p)
        for p, u, s, k, d, size in zip(padding, y.shape[2:], stride, kernel, dilation, x.shape[2:], strict=True)
    ]
    x = F.pad(x, [amount for pair in reversed(pads) for amount in pair])
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    own = wide(y).reshape(examples, groups, 1, outputs // groups, *y.shape[2:])
    own = own.expand(-1, -1, channels // groups, *[-1] * (y.dim() - 1))
    gradient = convolution(
        wide(x).reshape(1, examples * channels, *x.shape[2:]),
        own.reshape(-1, 1, *y.shape[2:]),
        stride=tuple(dilation),
        dilation=tuple(stride),
        groups=examples * channels,
    )
    return gradient.reshape(examples, -1).square().sum(1) + bias * wide(y).flatten(2).sum(2).square().sum(1)


def embedding_sqnorm(y: Tensor, rows: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Σ_ss' [v_s = v_s'] ȳ_s·ȳ_s' and Σ_s ‖ȳ_s‖², [N] each; places of ``padding`` count 0."""
    match = (rows[:, :, None] == rows[:, None, :]) & (rows != padding)[:, :, None]
    gram = torch.where(match, wide(y) @ wide(y).mT, 0.0)
    return gram.sum((1, 2)), gram.diagonal(dim1=1, dim2=2).sum(1)


def lstm_scan(
    gates: Tensor, c: Tensor, tanh_c: Tensor, dh_by_step: Tensor, dc_last: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """z̄ [T, N, 4H] and c̄ [N, H] before the first step, of c = f c' + i g, h = o tanh(c), z = … + W_hh h'."""
    dh, dc, found = wide(dh_by_step[-1]), wide(dc_last), []
    for t in reversed(range(len(gates))):
        i, f, g, o = wide(gates[t]).chunk(4, 1)
        squashed = wide(tanh_c[t])
        dc = dc + dh * o * (1 - squashed.square())
        to_gates = dc * g * i * (1 - i), dc * wide(c[t]) * f * (1 - f), dc * i * (1 - g.square())
        dz = torch.cat((*to_gates, dh * squashed * o * (1 - o)), 1).to(gates.dtype)
        found.append(dz)
        dc, dh = dc * f, wide(dz) @ wide(weight) + (wide(dh_by_step[t - 1]) if t else 0)
    return torch.stack(found[::-1]), dc.to(gates.dtype)


def gru_scan(
    gates: Tensor, back_v: Tensor, h: Tensor, dh_by_step: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """z̄x and z̄h [T, N, 3H] and u h̄ [N, H] of the first step, of h = (1 − u) v + u h', v = tanh(zx_v + r zh_v)."""
    dh, kept, to_x, to_h = wide(dh_by_step[-1]), wide(dh_by_step[-1]), [], []
    for t in reversed(range(len(gates))):
        r, u, v = wide(gates[t]).chunk(3, 1)
        dv = dh * (1 - u) * (1 - v.square())
        du, dr = dh * (wide(h[t]) - v) * u * (1 - u), dv * wide(back_v[t]) * r * (1 - r)
        to_x.append(torch.cat((dr, du, dv), 1).to(gates.dtype))
        to_h.append(torch.cat((dr, du, dv * r), 1).to(gates.dtype))
        kept = dh * u
        dh = kept + wide(to_h[-1]) @ wide(weight) + (wide(dh_by_step[t - 1]) if t else 0)
    return torch.stack(to_x[::-1]), torch.stack(to_h[::-1]), kept.to(gates.dtype)


def rnn_scan(h: Tensor, dh_by_step: Tensor, weight: Tensor, relu: bool) -> Tensor:
    """z̄ [T, N, H] of h = tanh(z) or relu(z), z = … + W_hh h'."""
    dh, found = wide(dh_by_step[-1]), []
    for t in reversed(range(len(dh_by_step))):
        made = wide(h[t + 1])
        dz = (torch.where(made > 0, dh, 0.0) if relu else dh * (1 - made.square())).to(h.dtype)
        found.append(dz)
        dh = wide(dz) @ wide(weight) + (wide(dh_by_step[t - 1]) if t else 0)
    return torch.stack(found[::-1])
