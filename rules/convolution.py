"""Convolutions of one to three dimensions, and their transposes.

u: places of the output of a convolution; k: offsets in the kernel; g: the group; c and o: the channel
within the group, in and out.
"""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import ABSENT, Equation, Form, Operand, aten, equation, index_family, indices, op_rule, out

n, g, c, o = indices("n g c o")


def each(numbers: Any, count: int) -> list[Any]:
    """A number for each spatial dim, where one number may stand for all."""
    given = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    return given * count if len(given) == 1 else given


def channel(groups: int, letter: Any) -> Any:
    """A channel by its group and its place in the group; by its place alone where there is one group."""
    return (g, letter) if groups > 1 else letter


def leading(input: Operand, weight: Operand) -> tuple[Any, ...]:
    """The letter n, where the input has a dim for it."""
    return (n,) if input.ndim == weight.ndim else ()


def places(rank: int, stride: Any, padding: Any, dilation: Any) -> tuple[Any, Any, list[Any]]:
    """The letters u and k, and the place stride·u + dilation·k − padding in each spatial dim."""
    u, k = index_family("u", rank), index_family("k", rank)
    numbers = zip(each(stride, rank), each(dilation, rank), each(padding, rank), u, k, strict=True)
    return u, k, [s * u_ + d * k_ - p for s, d, p, u_, k_ in numbers]


@op_rule(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
def convolution(
    input: Operand,
    weight: Operand,
    bias: Any = ABSENT,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Equation:
    """y[n,g·o,u] = Σ_ck x[n, g·c, stride·u + dilation·k − padding] W[g·o,c,k] + b[g·o]"""
    u, k, place = places(weight.ndim - 2, stride, padding, dilation)
    row, column = channel(groups, o), channel(groups, c)
    batch = leading(input, weight)
    product = input[(*batch, column, *place)] * weight[(row, c, *k)]
    return equation(out[(*batch, row, *u)], product + bias[(row,)], extents={g: groups} if groups > 1 else {})


@op_rule(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)
def padded_convolution(
    input: Operand,
    weight: Operand,
    bias: Any = ABSENT,
    stride: Any = 1,
    padding: str = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Form:
    """as convolution, with padding "valid" (0) or "same": half of dilation·(kernel − 1), rounded down, in front"""
    rank = weight.ndim - 2
    same = [d * (size - 1) // 2 for d, size in zip(each(dilation, rank), weight.shape[2:], strict=True)]
    front = same if padding == "same" else 0
    return convolution.function(input, weight, bias, stride, front, dilation, groups)


@op_rule(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def transposed_convolution(
    input: Operand,
    weight: Operand,
    bias: Any = ABSENT,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Equation:
    """y[n, g·o, stride·u + dilation·k − padding] += Σ_c x[n,g·c,u] W[g·c,o,k], and y[n,g·o,v] += b[g·o]"""
    u, k, place = places(weight.ndim - 2, stride, padding, dilation)
    row, column = channel(groups, o), channel(groups, c)
    extents = {g: groups} if groups > 1 else {}
    batch = leading(input, weight)
    product = input[(*batch, column, *u)] * weight[(column, o, *k)]
    spread = equation(out[(*batch, row, *place)], product, extents=extents)
    if not bias:
        return spread
    return spread + equation(out[(*batch, row, *index_family("v", len(u)))], bias[(row,)], extents=extents)
