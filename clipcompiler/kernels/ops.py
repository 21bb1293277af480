"""The kernels as ops of torch: on a GPU in Triton, elsewhere their references, without data their shapes.

    torch.ops.clipcompiler.gram_sqnorm(cotangents, x, biases)

A graph that is traced or compiled keeps them whole, and Inductor sees the Triton kernel in them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipcompiler.kernels.references import summed_in

__all__ = [
    "HAS_TRITON",
    "convolution_sqnorm",
    "embedding_sqnorm",
    "gram_sqnorm",
    "gru_scan",
    "instantiate_sqnorm",
    "lstm_scan",
    "rnn_scan",
]

#: Whether the kernels can run on a GPU.
HAS_TRITON = importlib.util.find_spec("triton") is not None


def computes(name: str, x: Tensor) -> Callable[..., Any]:
    """What computes an op where a tensor is: a kernel, or a reference."""
    file = "recurrent_scans" if name.endswith("_scan") else name
    source = f"clipcompiler.kernels.on_gpu.{file}" if x.is_cuda and HAS_TRITON else "clipcompiler.kernels.references"
    found: Callable[..., Any] = getattr(importlib.import_module(source), name)
    return found


def op(without_data: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Registers a function as ``clipcompiler::name``; ``without_data`` gives results of its shapes and dtypes alone."""

    def register(function: Callable[..., Any]) -> Any:
        define: Callable[..., Any] = torch.library.triton_op if HAS_TRITON else torch.library.custom_op
        defined = define(f"clipcompiler::{function.__name__}", function, mutates_args=())
        defined.register_fake(without_data)
        return defined

    return register


def numbers(x: Tensor, *shape: Any) -> Tensor:
    """A tensor of sums over what is in the dtype of x."""
    return x.new_empty(shape, dtype=summed_in(x.dtype))


@op(lambda cotangents, x, _: tuple(numbers(x, len(cotangents), x.shape[0]) for _ in range(2)))
def gram_sqnorm(cotangents: list[Tensor], x: Tensor, biases: list[float]) -> tuple[Tensor, Tensor]:
    """Σ_ss' (ȳ_s·ȳ_s')(x_s·x_s' + b) and Σ_s ‖ȳ_s‖²(‖x_s‖² + b), [C, N] each, for C cotangents [N, S, O] of one x."""
    run = computes("gram_sqnorm", x)
    at_once = 4
    parts = [run(cotangents[k : k + at_once], x, biases[k : k + at_once]) for k in range(0, len(cotangents), at_once)]
    return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])


@op(lambda y, *_: numbers(y, y.shape[0]))
def instantiate_sqnorm(y: Tensor, x: Tensor, bias: bool) -> Tensor:
    """Σ_oi (Σ_s ȳ[s,o] x[s,i])² (+ Σ_o (Σ_s ȳ[s,o])² of a bias), [N], of ȳ [N, S, O] and x [N, S, I]."""
    found: Tensor = computes("instantiate_sqnorm", y)(y, x, bias)
    return found


@op(lambda y, *_: numbers(y, y.shape[0]))
def convolution_sqnorm(
    y: Tensor,
    x: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    bias: bool,
) -> Tensor:
    """Σ_ock (Σ_u ȳ[o,u] x[c, u·stride + k·dilation − padding])² (+ that of a bias), [N]; ȳ [N, O, *U], x [N, C, *X]."""
    found: Tensor = computes("convolution_sqnorm", y)(y, x, kernel, stride, padding, dilation, groups, bias)
    return found


@op(lambda y, *_: (numbers(y, y.shape[0]), numbers(y, y.shape[0])))
def embedding_sqnorm(y: Tensor, rows: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Σ_ss' [v_s = v_s'] ȳ_s·ȳ_s' and Σ_s ‖ȳ_s‖², [N] each, of ȳ [N, S, D] and v [N, S]; ``padding`` counts 0."""
    found: tuple[Tensor, Tensor] = computes("embedding_sqnorm", y)(y, rows, padding)
    return found


@op(lambda gates, c, *_: (gates.new_empty(gates.shape), gates.new_empty(c.shape[1:])))
def lstm_scan(
    gates: Tensor, c: Tensor, tanh_c: Tensor, dh_by_step: Tensor, dc_last: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """z̄ [T, N, 4H] and the cotangent [N, H] of the first c, of gates [T, N, 4H], c [T+1, N, H] and W_hh [4H, H]."""
    found: tuple[Tensor, Tensor] = computes("lstm_scan", gates)(gates, c, tanh_c, dh_by_step, dc_last, weight)
    return found


@op(lambda gates, back_v, *_: (*(gates.new_empty(gates.shape) for _ in range(2)), gates.new_empty(back_v.shape[1:])))
def gru_scan(
    gates: Tensor, back_v: Tensor, h: Tensor, dh_by_step: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """z̄x and z̄h [T, N, 3H] and u·h̄ [N, H] of the first step, of gates [T, N, 3H], h [T+1, N, H] and W_hh [3H, H]."""
    found: tuple[Tensor, Tensor, Tensor] = computes("gru_scan", gates)(gates, back_v, h, dh_by_step, weight)
    return found


@op(lambda h, dh_by_step, *_: dh_by_step.new_empty(dh_by_step.shape))
def rnn_scan(h: Tensor, dh_by_step: Tensor, weight: Tensor, relu: bool) -> Tensor:
    """z̄ [T, N, H] of h [T+1, N, H] and W_hh [H, H]."""
    found: Tensor = computes("rnn_scan", h)(h, dh_by_step, weight, relu)
    return found
