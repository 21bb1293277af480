"""One recurrent layer in one direction. The parameters enter inside the op, at the pre-activations of its gates.

h' is the state before step t and h the state after it; time and features are mixed.
"""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import (
    ABSENT,
    Aligned,
    Form,
    Operand,
    aligned,
    equation,
    indices,
    inside,
    layers,
    op_rule,
    out,
)

t, n, i, j, g, r = indices("t n i j g r")  # step, example, feature of the input, of the state; gate, projected feature


@op_rule(layers.lstm_layer.default)
def lstm_layer(
    x: Operand,
    h0: Any,
    c0: Any,
    W_ih: Operand,
    W_hh: Operand,
    b_ih: Any = ABSENT,
    b_hh: Any = ABSENT,
    W_hr: Any = ABSENT,
    *,
    z: Any = ABSENT,
    p: Any = ABSENT,
) -> Form:
    """z[t,n,g] = Σ_i x[t,n,i] W_ih[g,i] + b_ih[g] + Σ_j h'[t,n,j] W_hh[g,j] + b_hh[g]

    c = σ(z_f) c' + σ(z_i) tanh(z_g), m = σ(z_o) tanh(c); h = m, or projected h = p[t,n,r] = Σ_j m[t,n,j] W_hr[r,j].
    Returns h, h', the last c, m.
    """
    before = Operand("h'", (*x.shape[:2], W_hh.shape[1]))
    m = Operand("m", (*x.shape[:2], W_hh.shape[0] // 4))
    by_step, last = along([x, z, p], [h0, c0])
    gates = {"z": equation(out[t, n, g], fed(x, W_ih, b_ih) + fed_back(before, W_hh, b_hh))}
    projected = {"p": equation(out[t, n, r], m[t, n, j] * W_hr[r, j])} if W_hr else {}
    return inside(by_step, by_step, last, by_step, returned={1: before, 3: m}, **gates, **projected)


@op_rule(layers.gru_layer.default)
def gru_layer(
    x: Operand,
    h0: Any,
    W_ih: Operand,
    W_hh: Operand,
    b_ih: Any = ABSENT,
    b_hh: Any = ABSENT,
    *,
    zx: Any = ABSENT,
    zh: Any = ABSENT,
) -> Form:
    """zx[t,n,g] = Σ_i x[t,n,i] W_ih[g,i] + b_ih[g];  zh[t,n,g] = Σ_j h'[t,n,j] W_hh[g,j] + b_hh[g]

    r = σ(zx_r + zh_r),  u = σ(zx_u + zh_u),  h = (1 − u) tanh(zx_n + r zh_n) + u h'. Returns h, h'.
    """
    before = Operand("h'", (*x.shape[:2], W_hh.shape[1]))
    by_step, _ = along([x, zx, zh], [h0])
    return inside(
        by_step,
        by_step,
        returned={1: before},
        zx=equation(out[t, n, g], fed(x, W_ih, b_ih)),
        zh=equation(out[t, n, g], fed_back(before, W_hh, b_hh)),
    )


@op_rule(layers.rnn_layer.default)
def rnn_layer(
    x: Operand,
    h0: Any,
    W_ih: Operand,
    W_hh: Operand,
    b_ih: Any = ABSENT,
    b_hh: Any = ABSENT,
    *,
    relu: bool = False,
    z: Any = ABSENT,
) -> Form:
    """z[t,n,g] = Σ_i x[t,n,i] W_ih[g,i] + b_ih[g] + Σ_j h'[t,n,j] W_hh[g,j] + b_hh[g];  h = tanh(z) or relu(z)

    Returns h, h'.
    """
    before = Operand("h'", (*x.shape[:2], W_hh.shape[1]))
    by_step, _ = along([x, z], [h0])
    gates = equation(out[t, n, g], fed(x, W_ih, b_ih) + fed_back(before, W_hh, b_hh))
    return inside(by_step, by_step, returned={1: before}, z=gates)


def fed(x: Operand, W_ih: Operand, b_ih: Any) -> Any:
    """Σ_i x[t,n,i] W_ih[g,i] + b_ih[g]"""
    return x[t, n, i] * W_ih[g, i] + b_ih[g]


def fed_back(before: Operand, W_hh: Operand, b_hh: Any) -> Any:
    """Σ_j h'[t,n,j] W_hh[g,j] + b_hh[g]"""
    return before[t, n, j] * W_hh[g, j] + b_hh[g]


def along(sequences: Sequence[Any], states: Sequence[Any]) -> tuple[Aligned, Aligned]:
    """The dims of a sequence [t,n,·] and of a state [n,·]: only the examples stay apart."""
    examples = [(o, 1) for o in sequences if o] + [(o, 0) for o in states if o]
    return aligned([], examples, []), aligned(examples, [])
