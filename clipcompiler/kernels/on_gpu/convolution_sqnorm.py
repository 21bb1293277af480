"""‖g[n]‖² = Σ_ock (Σ_u ȳ[o,u] x[c, u·stride + k·dilation − padding])²: neither patches nor gradients are stored."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from clipcompiler.kernels.on_gpu.tiles import accumulator, launched, product, summed_in, tried, when_interpreted

__all__ = ["convolution_sqnorm"]

CONFIGS = [
    triton.Config({"O_TILE": o, "I_TILE": i, "POSITIONS": s}, num_warps=w, num_stages=p)
    for o, i, s, w, p in (
        (128, 128, 32, 8, 3), (128, 64, 32, 4, 4), (64, 128, 32, 4, 4), (64, 64, 32, 4, 4), (64, 32, 64, 4, 4),
        (32, 64, 64, 4, 4), (32, 32, 64, 2, 4), (16, 32, 64, 2, 4),
    )
]  # fmt: skip
LARGEST = 64


@tried(CONFIGS, ("outputs", "channels", "groups", "places", "offsets", "BIAS"))
@triton.jit
def filter_tiles(
    squares, y, x, groups, outputs, channels, places, offsets,
    u_2, u_3, k_2, k_3, size_1, size_2, size_3,
    y_n, y_o, y_1, y_2, y_3, x_n, x_c, x_1, x_2, x_3,
    stride_1, stride_2, stride_3, padding_1, padding_2, padding_3, dilation_1, dilation_2, dilation_3,
    programs,
    O_TILE: tl.constexpr, I_TILE: tl.constexpr, POSITIONS: tl.constexpr, BIAS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Every ``programs``-th tile of the filters' gradient of one example: their squares.

    ``outputs`` and ``channels`` are those of one group, ``places`` all u of the output, ``offsets`` all k.
    """
    program = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    square = tl.zeros((1,), dtype=ACC)
    columns = channels * offsets
    across, down = tl.cdiv(columns, I_TILE), tl.cdiv(outputs, O_TILE)
    for place in range(program, groups * down * across, programs):
        group = place // (down * across)
        o = (place // across) % down * O_TILE + tl.arange(0, O_TILE)
        column = (place % across) * I_TILE + tl.arange(0, I_TILE)
        c, k = column // offsets, column % offsets
        first = (k // (k_2 * k_3)) * dilation_1 - padding_1
        second = (k // k_3 % k_2) * dilation_2 - padding_2
        third = (k % k_3) * dilation_3 - padding_3
        of_y = y + n * y_n + (group * outputs + o) * y_o
        of_x = x + n * x_n + (group * channels + c) * x_c
        g = tl.zeros((O_TILE, I_TILE), dtype=ACC)
        g_bias = tl.zeros((O_TILE,), dtype=ACC)
        for start in range(0, places, POSITIONS):
            u = start + tl.arange(0, POSITIONS)
            u_first, u_second, u_third = u // (u_2 * u_3), u // u_3 % u_2, u % u_3
            a = tl.load(
                of_y[:, None] + (u_first * y_1 + u_second * y_2 + u_third * y_3)[None, :],
                mask=(o < outputs)[:, None] & (u < places)[None, :],
                other=0.0,
            )
            at_1 = (u_first * stride_1)[:, None] + first[None, :]
            at_2 = (u_second * stride_2)[:, None] + second[None, :]
            at_3 = (u_third * stride_3)[:, None] + third[None, :]
            inside = (at_1 >= 0) & (at_1 < size_1) & (at_2 >= 0) & (at_2 < size_2) & (at_3 >= 0) & (at_3 < size_3)
            b = tl.load(
                of_x[None, :] + at_1 * x_1 + at_2 * x_2 + at_3 * x_3,
                mask=inside & (column < columns)[None, :] & (u < places)[:, None],
                other=0.0,
            )
            g = product(a, b, g, ACC)
            if BIAS:
                g_bias += tl.sum(a.to(ACC), axis=1)
        square += tl.sum(tl.sum(g * g, axis=1), axis=0)
        if BIAS:
            square += tl.where(place % across == 0, tl.sum(g_bias * g_bias, axis=0), 0.0)
    tl.store(squares + n * programs + program + tl.arange(0, 1), square)


def convolution_sqnorm(
    y: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    bias: bool,
    **sizes: int,
) -> Tensor:
    """The squares [N] of ȳ [N, O, *U] and x [N, C, *X] in 1 to 3 spatial dims, with that of a bias.

    ``sizes`` are those of tiles where the kernel is interpreted: O_TILE, I_TILE and POSITIONS.
    """
    missing = 3 - len(kernel)
    kernel, stride, dilation = ((1,) * missing + tuple(own) for own in (kernel, stride, dilation))
    padding = (0,) * missing + tuple(padding)
    for _ in range(missing):
        y, x = y.unsqueeze(2), x.unsqueeze(2)
    examples, outputs, channels = x.shape[0], y.shape[1] // groups, x.shape[1] // groups
    places, offsets = y.shape[2] * y.shape[3] * y.shape[4], kernel[0] * kernel[1] * kernel[2]
    programs = max(1, groups * -(-outputs // LARGEST) * -(-channels * offsets // LARGEST))
    squares = x.new_empty((examples, programs), dtype=summed_in(x.dtype))
    if examples:
        launched(
            filter_tiles, (programs, examples), squares, y, x, groups, outputs, channels, places, offsets,
            *y.shape[3:], *kernel[1:], *x.shape[2:], *y.stride(), *x.stride(), *stride, *padding, *dilation,
            programs,
            BIAS=bias, ACC=accumulator(x.dtype), **when_interpreted(sizes, O_TILE=16, I_TILE=16, POSITIONS=16),
        )  # fmt: skip
    return squares.sum(1)
