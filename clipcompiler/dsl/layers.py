"""Ops of our own: one recurrent layer in one direction, as which a traced graph holds torch's recurrent layers.

    lstm_layer(x, h0, c0, W_ih, W_hh, b_ih, b_hh, W_hr, z, p) → h, h', c_T, m
    gru_layer(x, h0, W_ih, W_hh, b_ih, b_hh, zx, zh)          → h, h'
    rnn_layer(x, h0, W_ih, W_hh, b_ih, b_hh, relu, z)         → h, h'

x is [T, N, I]; h and h', the state after and before each step, are [T, N, H]; first states are [N, H], or 0 where None.
The last arguments are added to the pre-activations, inside: where one is a tensor of zeros, its gradient is the
cotangent of the pre-activation. What is below is what the ops mean; a generated program carries faster functions of
their names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["layers"]

LIBRARY = torch.library.Library("clipcompiler", "DEF")  # type: ignore[no-untyped-call]
WEIGHTS = "Tensor W_ih, Tensor W_hh, Tensor? b_ih=None, Tensor? b_hh=None"
SCHEMAS = (
    f"lstm_layer(Tensor x, Tensor? h0, Tensor? c0, {WEIGHTS}, Tensor? W_hr=None, "
    "*, Tensor? z=None, Tensor? p=None) -> (Tensor, Tensor, Tensor, Tensor)",
    f"gru_layer(Tensor x, Tensor? h0, {WEIGHTS}, *, Tensor? zx=None, Tensor? zh=None) -> (Tensor, Tensor)",
    f"rnn_layer(Tensor x, Tensor? h0, {WEIGHTS}, *, bool relu=False, Tensor? z=None) -> (Tensor, Tensor)",
    "like_one_step(Tensor step, SymInt steps) -> Tensor",
)


def lstm_layer(
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    W_hr: Tensor | None = None,
    *,
    z: Tensor | None = None,
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """c = σ(z_f) c' + σ(z_i) tanh(z_g),  m = σ(z_o) tanh(c),  h = m or W_hr m"""
    h, c = first(h0, x, W_hh.shape[1]), first(c0, x, W_hh.shape[0] // 4)
    before, after, inner = [], [], []
    for t in range(x.shape[0]):
        before.append(h)
        i, f, g, o = plus(F.linear(x[t], W_ih, b_ih) + F.linear(h, W_hh, b_hh), z, t).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        m = o.sigmoid() * c.tanh()
        h = m if W_hr is None else plus(F.linear(m, W_hr), p, t)
        inner.append(m)
        after.append(h)
    return *stacked(after, before), c, torch.stack(inner)


def gru_layer(
    x: Tensor,
    h0: Tensor | None,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    zx: Tensor | None = None,
    zh: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """r = σ(zx_r + zh_r),  u = σ(zx_u + zh_u),  h = (1 − u) tanh(zx_n + r zh_n) + u h'"""
    h, before, after = first(h0, x, W_hh.shape[1]), [], []
    for t in range(x.shape[0]):
        before.append(h)
        own = plus(F.linear(x[t], W_ih, b_ih), zx, t).chunk(3, -1)
        fed = plus(F.linear(h, W_hh, b_hh), zh, t).chunk(3, -1)
        r, u = (own[0] + fed[0]).sigmoid(), (own[1] + fed[1]).sigmoid()
        h = (1 - u) * (own[2] + r * fed[2]).tanh() + u * h
        after.append(h)
    return stacked(after, before)


def rnn_layer(
    x: Tensor,
    h0: Tensor | None,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    relu: bool = False,
    z: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """h = tanh(z) or relu(z)"""
    h, before, after = first(h0, x, W_hh.shape[1]), [], []
    for t in range(x.shape[0]):
        before.append(h)
        summed = plus(F.linear(x[t], W_ih, b_ih) + F.linear(h, W_hh, b_hh), z, t)
        h = summed.relu() if relu else summed.tanh()
        after.append(h)
    return stacked(after, before)


def first(state: Tensor | None, x: Tensor, size: int) -> Tensor:
    """The state before the first step: zeros where none is given."""
    return x.new_zeros(x.shape[1], size) if state is None else state


def like_one_step(step: Tensor, steps: int) -> Tensor:
    """A tensor of the shape of all steps, its elements without meaning: for shapes alone."""
    return step.expand(steps, *step.shape[1:]).clone(memory_format=torch.contiguous_format)


def plus(value: Tensor, added: Tensor | None, t: int) -> Tensor:
    """A pre-activation of step t with what is added to it."""
    return value if added is None else value + added[t]


def stacked(after: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The states after and before every step, [T, N, H] each."""
    return torch.stack(list(after)), torch.stack(list(before))


for schema, function in zip(SCHEMAS, (lstm_layer, gru_layer, rnn_layer, like_one_step), strict=True):
    LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    if function is not like_one_step:
        LIBRARY.impl(function.__name__, function, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]
# Of no value but its shape: a trace cannot take it apart, so that it is found where it remained.
LIBRARY.impl("like_one_step", like_one_step, "Meta")  # type: ignore[no-untyped-call]

#: The ops by name, as ``layers.lstm_layer``.
layers = torch.ops.clipcompiler
