"""Torch's recurrent layers and cells → ops of one layer in one direction each, and of one step.

    lstm(x, (h0, c0), params, …) → h, h', c_T, m = lstm_layer(x, h0[k], c0[k], W_ih, W_hh, b_ih, b_hh, W_hr), k by k
    gru, rnn_tanh, rnn_relu      → gru_layer, rnn_layer
    lstm_cell, gru_cell, …       → linear(x, W_ih, b_ih), linear(h, W_hh, b_hh) and the gates

A backward direction is the layer between two flips; dropout, transposes, and the joining of directions and last
states are nodes of their own.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from clipcompiler.dsl import layers
from clipcompiler.errors import UntraceableModel
from clipcompiler.trace.source import origin_of
from clipcompiler.trace.writer import Writer

__all__ = ["PADDED", "REWRITTEN", "by_one_step", "to_single_layers"]

aten = torch.ops.aten
#: What to do instead of packing sequences.
PADDED = (
    "run the recurrent layer on the padded batch: its output at a step reads no later one; take the last output of "
    "each sequence as y[torch.arange(y.shape[0]), lengths - 1], and leave steps beyond it out of the loss"
)
LAYERS: dict[Any, Any] = {
    aten.lstm.input: layers.lstm_layer.default,
    aten.gru.input: layers.gru_layer.default,
    aten.rnn_tanh.input: layers.rnn_layer.default,
    aten.rnn_relu.input: layers.rnn_layer.default,
}
#: The ops that are rewritten.
REWRITTEN = (
    *LAYERS, aten.lstm_cell.default, aten.gru_cell.default, aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default,
)  # fmt: skip


def to_single_layers(graph: fx.Graph) -> None:
    """Applies the rewrites in place; the replaced nodes are left without users.

    Raises:
        UntraceableModel: where the graph holds what stands for a layer while its shapes are found.
    """
    for node in list(graph.nodes):
        if node.op != "call_function" or node.kwargs:
            continue
        write = Writer(graph, node)
        if node.target is layers.like_one_step.default:
            raise UntraceableModel(
                "torch takes a recurrent layer apart while it traces the model",
                origin=origin_of(node),
                remedy="call the layer outside of functions that trace or transform it",
            )
        if node.target in LAYERS:
            replace(node, layer_by_layer(write, *node.args))
        elif node.target is aten.lstm_cell.default:
            replace(node, lstm_cell(write, *node.args))
        elif node.target is aten.gru_cell.default:
            node.replace_all_uses_with(gru_cell(write, *node.args))
        elif node.target in (aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default):
            node.replace_all_uses_with(rnn_cell(write, *node.args))


def replace(node: fx.Node, values: Sequence[fx.Node]) -> None:
    """The outputs of an op → values."""
    for user in list(node.users):
        assert user.target is operator.getitem
        user.replace_all_uses_with(values[user.args[1]])  # type: ignore[index]


def by_one_step(run: Any) -> Any:
    """Torch's shapes of a recurrent layer, found by one step in place of all: a trace takes as long for any length.

    ``run`` calls, for each layer and direction, a function that loops over the steps. What it is given instead makes
    values of the right shape and no meaning, by an op that no graph may hold.
    """

    def shortened(input: Tensor, hidden: Any, params: Any, *options: Any, **named: Any) -> Any:
        *rest, layer = options
        if isinstance(layer, partial) and "batch_sizes" in layer.keywords:  # packed sequences
            return run(input, hidden, params, *options, **named)

        def one_step(x: Tensor, *arguments: Any, **more: Any) -> Any:
            output, last = layer(x[0].unsqueeze(0), *arguments, **more)
            return layers.like_one_step(output, x.shape[0]), last

        return run(input, hidden, params, *rest, one_step, **named)

    return shortened


def layer_by_layer(
    write: Writer,
    x: fx.Node,
    states: Any,
    parameters: Sequence[fx.Node],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[fx.Node]:
    """The output and the last states of all layers."""
    states = [states] if isinstance(states, fx.Node) else states
    directions = 2 if bidirectional else 1
    count = len(parameters) // (num_layers * directions)
    last: list[list[fx.Node]] = []
    if batch_first:
        x = write(aten.transpose.int, x, 0, 1)
    for layer in range(num_layers):
        both: list[fx.Node] = []
        for reverse in range(directions):
            k = layer * directions + reverse
            own = weights(parameters[k * count : (k + 1) * count], has_biases)
            first = [write(aten.select.int, state, 0, k) if is_given(state) else None for state in states]
            output, *final = one_direction(write, x, first, own, bool(reverse))
            both.append(output)
            last.append(final)
        x = write(aten.cat.default, both, 2) if bidirectional else both[0]
        if dropout and train and layer < num_layers - 1:
            x = write(aten.dropout.default, x, dropout, True)
    if batch_first:
        x = write(aten.transpose.int, x, 0, 1)
    return [x, *(write(aten.stack.default, list(final)) for final in zip(*last, strict=True))]


def weights(parameters: Sequence[fx.Node], has_biases: bool) -> list[fx.Node | None]:
    """W_ih, W_hh, b_ih, b_hh, W_hr, where they are"""
    split = 4 if has_biases else 2
    return [*parameters[:split], *[None] * (4 - split), *parameters[split:]]


def is_given(state: fx.Node) -> bool:
    """Whether a first state is more than the zeros that a layer takes without one."""
    return state.target is not aten.zeros.default


def one_direction(
    write: Writer, x: fx.Node, states: list[fx.Node | None], weights: list[fx.Node | None], reverse: bool
) -> list[fx.Node]:
    """The output of one layer in one direction, [T, N, H], and its last states, [N, H]."""
    x = write(aten.flip.default, x, [0]) if reverse else x
    made = write(LAYERS[write.node.target], x, *states, *weights, value=values(x, len(states), weights))
    if write.node.target is aten.rnn_relu.input:
        made.kwargs = {"relu": True}
    output, _, *rest = write.outputs(made)
    last = [write(aten.select.int, output, 0, -1), *rest[:1]]
    return [write(aten.flip.default, output, [0]) if reverse else output, *last]


def values(x: fx.Node, states: int, weights: list[fx.Node | None]) -> tuple[Tensor, ...]:
    """Tensors of the shapes that a layer returns: h, h', and of an LSTM, of two states, the last c and m."""
    assert weights[1] is not None
    x_value, W_hh = x.meta["val"], weights[1].meta["val"]
    h = x_value.new_empty((*x_value.shape[:2], W_hh.shape[1]))
    if states == 1:
        return h, h
    m = x_value.new_empty((*x_value.shape[:2], W_hh.shape[0] // 4))
    return h, h, m[0], m


def lstm_cell(write: Writer, x: fx.Node, states: Sequence[fx.Node], *weights: fx.Node) -> list[fx.Node]:
    """c = σ(z_f) c' + σ(z_i) tanh(z_g),  h = σ(z_o) tanh(c)"""
    h, c = states
    z = write(aten.add.Tensor, *affine(write, x, h, *weights))
    i, f, g, o = parts(write, z, 4)
    i, f, o = (write(aten.sigmoid.default, gate) for gate in (i, f, o))
    kept = write(aten.mul.Tensor, f, c)
    c = write(aten.add.Tensor, kept, write(aten.mul.Tensor, i, write(aten.tanh.default, g)))
    return [write(aten.mul.Tensor, o, write(aten.tanh.default, c)), c]


def gru_cell(write: Writer, x: fx.Node, h: fx.Node, *weights: fx.Node) -> fx.Node:
    """r = σ(zx_r + zh_r),  u = σ(zx_u + zh_u),  v = tanh(zx_n + r zh_n),  h = (h' − v) u + v"""
    fed, back = (parts(write, z, 3) for z in affine(write, x, h, *weights))
    r, u = (write(aten.sigmoid.default, write(aten.add.Tensor, fed[k], back[k])) for k in (0, 1))
    v = write(aten.tanh.default, write(aten.add.Tensor, fed[2], write(aten.mul.Tensor, r, back[2])))
    return write(aten.add.Tensor, write(aten.mul.Tensor, write(aten.sub.Tensor, h, v), u), v)


def rnn_cell(write: Writer, x: fx.Node, h: fx.Node, *weights: fx.Node) -> fx.Node:
    """h = tanh(z) or relu(z)"""
    z = write(aten.add.Tensor, *affine(write, x, h, *weights))
    return write(aten.relu.default if write.node.target is aten.rnn_relu_cell.default else aten.tanh.default, z)


def affine(
    write: Writer,
    x: fx.Node,
    h: fx.Node,
    W_ih: fx.Node,
    W_hh: fx.Node,
    b_ih: fx.Node | None = None,
    b_hh: fx.Node | None = None,
) -> tuple[fx.Node, fx.Node]:
    """W_ih x + b_ih and W_hh h + b_hh"""
    return tuple(  # type: ignore[return-value]
        write(aten.linear.default, a, W, *([] if b is None else [b])) for a, W, b in ((x, W_ih, b_ih), (h, W_hh, b_hh))
    )


def parts(write: Writer, z: fx.Node, count: int) -> list[fx.Node]:
    """z in equal parts of its last dim."""
    dim = z.meta["val"].dim() - 1
    size = z.meta["val"].shape[dim] // count
    return [write(aten.slice.Tensor, z, dim, k * size, (k + 1) * size) for k in range(count)]
