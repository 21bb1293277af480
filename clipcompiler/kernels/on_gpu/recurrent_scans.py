"""Gates → the cotangents of their pre-activations, from the last step to the first: dh' = (∂ℓ/∂h') + z̄ W_hh in between.

One launch for all steps: a block has some examples, and keeps what it hands from step to step in memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.tiles import accumulator, launched, product, summed_in, tried, when_interpreted

__all__ = ["gru_scan", "lstm_scan", "rnn_scan"]

CONFIGS = [
    triton.Config({"EXAMPLES": n, "FEATURES": j}, num_warps=w, num_stages=p)
    for n, j, w, p in ((16, 64, 4, 3), (16, 128, 8, 3), (32, 64, 4, 3), (16, 32, 4, 4))
]


@triton.jit
def handed_on(
    carry, dh_before, dz, weight, n, examples, hidden, gates,
    KEPT: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """carry[n,j] = dh_before[n,j] + Σ_q dz[n,q] W[q,j], plus what is in the carry where it is kept."""
    for first in range(0, hidden, FEATURES):
        j = first + tl.arange(0, FEATURES)[None, :]
        own = (n < examples) & (j < hidden)
        sum = tl.load(dh_before + n * hidden + j, mask=own, other=0.0).to(ACC)
        if KEPT:
            sum += tl.load(carry + n * hidden + j, mask=own, other=0.0)
        for start in range(0, gates, FEATURES):
            across = start + tl.arange(0, FEATURES)[None, :]
            a = tl.load(dz + n * gates + across, mask=(n < examples) & (across < gates), other=0.0)
            q = start + tl.arange(0, FEATURES)[:, None]
            b = tl.load(weight + q * hidden + j, mask=(q < gates) & (j < hidden), other=0.0)
            sum = product(a, b, sum, ACC)
        tl.store(carry + n * hidden + j, sum, mask=own)


@tried(CONFIGS, ("hidden",))
@triton.jit
def lstm_steps(
    dz, carry_h, carry_c, gates, c, tanh_c, dh_by_step, dc_last, weight, steps, examples, hidden,
    EXAMPLES: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """c = f c' + i g and h = o tanh(c), backwards."""
    n = (tl.program_id(0) * EXAMPLES + tl.arange(0, EXAMPLES)).to(tl.int64)[:, None]
    for back in range(0, steps):
        t = tl.zeros((1, 1), dtype=tl.int64) + (steps - 1 - back)
        for first in range(0, hidden, FEATURES):
            j = first + tl.arange(0, FEATURES)[None, :]
            own = (n < examples) & (j < hidden)
            at, here, gate = n * hidden + j, (t * examples + n) * hidden + j, (t * examples + n) * 4 * hidden + j
            if back == 0:
                dh = tl.load(dh_by_step + here, mask=own, other=0.0).to(ACC)
                dc = tl.load(dc_last + at, mask=own, other=0.0).to(ACC)
            else:
                dh = tl.load(carry_h + at, mask=own, other=0.0)
                dc = tl.load(carry_c + at, mask=own, other=0.0)
            i = tl.load(gates + gate, mask=own, other=0.0).to(ACC)
            f = tl.load(gates + gate + hidden, mask=own, other=0.0).to(ACC)
            g = tl.load(gates + gate + 2 * hidden, mask=own, other=0.0).to(ACC)
            o = tl.load(gates + gate + 3 * hidden, mask=own, other=0.0).to(ACC)
            squashed = tl.load(tanh_c + here, mask=own, other=0.0).to(ACC)
            before = tl.load(c + here, mask=own, other=0.0).to(ACC)
            dc += dh * o * (1 - squashed * squashed)
            tl.store(dz + gate, dc * g * i * (1 - i), mask=own)
            tl.store(dz + gate + hidden, dc * before * f * (1 - f), mask=own)
            tl.store(dz + gate + 2 * hidden, dc * i * (1 - g * g), mask=own)
            tl.store(dz + gate + 3 * hidden, dh * squashed * o * (1 - o), mask=own)
            tl.store(carry_c + at, dc * f, mask=own)
        tl.debug_barrier()  # what other threads of the block have stored is read next
        if back + 1 < steps:
            start = (steps - 1 - back) * tl.full((), 1, tl.int64) * examples
            handed_on(
                carry_h, dh_by_step + (start - examples) * hidden, dz + start * 4 * hidden, weight,
                n, examples, hidden, 4 * hidden, False, FEATURES, ACC,
            )  # fmt: skip
        tl.debug_barrier()


@tried(CONFIGS, ("hidden",))
@triton.jit
def gru_steps(
    dz_x, dz_h, carry, gates, back_v, h, dh_by_step, weight, steps, examples, hidden,
    EXAMPLES: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """h = (1 − u) v + u h' with v = tanh(zx_v + r zh_v), backwards."""
    n = (tl.program_id(0) * EXAMPLES + tl.arange(0, EXAMPLES)).to(tl.int64)[:, None]
    for back in range(0, steps):
        t = tl.zeros((1, 1), dtype=tl.int64) + (steps - 1 - back)
        for first in range(0, hidden, FEATURES):
            j = first + tl.arange(0, FEATURES)[None, :]
            own = (n < examples) & (j < hidden)
            at, here, gate = n * hidden + j, (t * examples + n) * hidden + j, (t * examples + n) * 3 * hidden + j
            if back == 0:
                dh = tl.load(dh_by_step + here, mask=own, other=0.0).to(ACC)
            else:
                dh = tl.load(carry + at, mask=own, other=0.0)
            r = tl.load(gates + gate, mask=own, other=0.0).to(ACC)
            u = tl.load(gates + gate + hidden, mask=own, other=0.0).to(ACC)
            v = tl.load(gates + gate + 2 * hidden, mask=own, other=0.0).to(ACC)
            before = tl.load(h + here, mask=own, other=0.0).to(ACC)
            recurrent = tl.load(back_v + here, mask=own, other=0.0).to(ACC)
            dv = dh * (1 - u) * (1 - v * v)
            du = dh * (before - v) * u * (1 - u)
            dr = dv * recurrent * r * (1 - r)
            tl.store(dz_x + gate, dr, mask=own)
            tl.store(dz_x + gate + hidden, du, mask=own)
            tl.store(dz_x + gate + 2 * hidden, dv, mask=own)
            tl.store(dz_h + gate, dr, mask=own)
            tl.store(dz_h + gate + hidden, du, mask=own)
            tl.store(dz_h + gate + 2 * hidden, dv * r, mask=own)
            tl.store(carry + at, dh * u, mask=own)
        tl.debug_barrier()  # what other threads of the block have stored is read next
        if back + 1 < steps:
            start = (steps - 1 - back) * tl.full((), 1, tl.int64) * examples
            handed_on(
                carry, dh_by_step + (start - examples) * hidden, dz_h + start * 3 * hidden, weight,
                n, examples, hidden, 3 * hidden, True, FEATURES, ACC,
            )  # fmt: skip
        tl.debug_barrier()


@tried(CONFIGS, ("hidden", "RELU"))
@triton.jit
def rnn_steps(
    dz, carry, h, dh_by_step, weight, steps, examples, hidden,
    RELU: tl.constexpr, EXAMPLES: tl.constexpr, FEATURES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """h = tanh(z) or relu(z), backwards."""
    n = (tl.program_id(0) * EXAMPLES + tl.arange(0, EXAMPLES)).to(tl.int64)[:, None]
    for back in range(0, steps):
        t = tl.zeros((1, 1), dtype=tl.int64) + (steps - 1 - back)
        for first in range(0, hidden, FEATURES):
            j = first + tl.arange(0, FEATURES)[None, :]
            own = (n < examples) & (j < hidden)
            here = (t * examples + n) * hidden + j
            if back == 0:
                dh = tl.load(dh_by_step + here, mask=own, other=0.0).to(ACC)
            else:
                dh = tl.load(carry + n * hidden + j, mask=own, other=0.0)
            made = tl.load(h + here + examples * hidden, mask=own, other=0.0).to(ACC)
            if RELU:
                tl.store(dz + here, tl.where(made > 0, dh, 0.0), mask=own)
            else:
                tl.store(dz + here, dh * (1 - made * made), mask=own)
        tl.debug_barrier()  # what other threads of the block have stored is read next
        if back + 1 < steps:
            start = (steps - 1 - back) * tl.full((), 1, tl.int64) * examples
            handed_on(
                carry, dh_by_step + (start - examples) * hidden, dz + start * hidden, weight,
                n, examples, hidden, hidden, False, FEATURES, ACC,
            )  # fmt: skip
        tl.debug_barrier()


def lstm_scan(
    gates: Tensor, c: Tensor, tanh_c: Tensor, dh_by_step: Tensor, dc_last: Tensor, weight: Tensor, **sizes: int
) -> tuple[Tensor, Tensor]:
    """z̄ [T, N, 4H] and the cotangent [N, H] of the first c, of gates [T, N, 4H], c [T+1, N, H] and W_hh [4H, H].

    ``sizes`` are those of tiles where the kernel is interpreted: EXAMPLES and FEATURES.
    """
    steps, examples, hidden = dh_by_step.shape
    dz = gates.new_empty(gates.shape)
    carry_h, carry_c = (gates.new_empty((examples, hidden), dtype=summed_in(gates.dtype)) for _ in range(2))
    given = (t.contiguous() for t in (gates, c, tanh_c, dh_by_step, dc_last, weight))
    run(lstm_steps, (dz, carry_h, carry_c), given, (steps, examples, hidden), sizes)
    return dz, carry_c.to(gates.dtype)


def gru_scan(
    gates: Tensor, back_v: Tensor, h: Tensor, dh_by_step: Tensor, weight: Tensor, **sizes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """z̄x and z̄h [T, N, 3H] and u·h̄ [N, H] of the first step, of gates [T, N, 3H], h [T+1, N, H] and W_hh [3H, H].

    ``sizes`` are those of tiles where the kernel is interpreted: EXAMPLES and FEATURES.
    """
    steps, examples, hidden = dh_by_step.shape
    dz_x, dz_h = gates.new_empty(gates.shape), gates.new_empty(gates.shape)
    carry = gates.new_empty((examples, hidden), dtype=summed_in(gates.dtype))
    given = (t.contiguous() for t in (gates, back_v, h, dh_by_step, weight))
    run(gru_steps, (dz_x, dz_h, carry), given, (steps, examples, hidden), sizes)
    return dz_x, dz_h, carry.to(gates.dtype)


def rnn_scan(h: Tensor, dh_by_step: Tensor, weight: Tensor, relu: bool, **sizes: int) -> Tensor:
    """z̄ [T, N, H] of h [T+1, N, H] and W_hh [H, H].

    ``sizes`` are those of tiles where the kernel is interpreted: EXAMPLES and FEATURES.
    """
    steps, examples, hidden = dh_by_step.shape
    dz = dh_by_step.new_empty(dh_by_step.shape)
    carry = dz.new_empty((examples, hidden), dtype=summed_in(dz.dtype))
    given = (t.contiguous() for t in (h, dh_by_step, weight))
    run(rnn_steps, (dz, carry), given, (steps, examples, hidden), sizes, RELU=relu)
    return dz


def run(
    kernel: Any,
    made: Sequence[Tensor],
    given: Iterable[Tensor],
    shape: tuple[int, int, int],
    sizes: Mapping[str, int],
    **constants: Any,
) -> None:
    """Launches a scan of [T, N, H]: a block for every few examples."""
    steps, examples, _ = shape
    if steps and examples:
        launched(
            kernel, lambda meta: (triton.cdiv(examples, meta["EXAMPLES"]),), *made, *given, *shape,
            **constants, ACC=accumulator(made[0].dtype), **when_interpreted(sizes, EXAMPLES=16, FEATURES=16),
        )  # fmt: skip
