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
    "instantiate_sqnorm",
    "layer_norm_sqnorm",
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


def layer_norm_sqnorm(y: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_d (Σ_s ȳ[s,d] (x[s,d] − μ[s]) ρ[s])² and Σ_d (Σ_s ȳ[s,d])², [N] each."""
    normal = (wide(x) - wide(mean)[:, :, None]) * wide(rstd)[:, :, None]
    return (wide(y) * normal).sum(1).square().sum(1), wide(y).sum(1).square().sum(1)
