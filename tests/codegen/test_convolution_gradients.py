"""The function that gives every example's gradient of a convolution, against torch's own of one example."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from clipcompiler.codegen.helpers import helpers_used

#: N, channels in and out, groups, places, kernel, stride, dilation, zeros in front and behind (negative: cut).
CASES = {
    "windows: few channels": (3, 3, 8, 1, (9, 8), (3, 2), (1, 1), (1, 1), ((1, 1), (0, 1))),
    "windows: more weights than places": (3, 16, 32, 1, (4, 4), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "windows: one channel makes two": (2, 4, 8, 4, (6, 6), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "groups: one example": (1, 3, 8, 1, (9, 9), (3, 3), (2, 2), (1, 1), ((1, 1), (1, 1))),
    "groups: many places": (3, 8, 8, 1, (9, 8), (3, 2), (2, 1), (1, 2), ((1, 1), (2, 0))),
    "groups: grouped": (3, 16, 32, 2, (7, 7), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "groups: cut": (2, 8, 8, 1, (9, 9), (2, 2), (2, 2), (1, 1), ((0, -1), (0, -1))),
    "output: by channel": (3, 5, 5, 5, (9, 8), (3, 2), (1, 1), (1, 1), ((1, 1), (0, 1))),
    "output: strides and dilation": (2, 5, 5, 5, (11, 11), (3, 3), (2, 2), (2, 2), ((1, 1), (1, 1))),
    "output: one channel": (4, 1, 1, 1, (6, 6), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "one dim": (3, 8, 8, 1, (12,), (3,), (1,), (1,), ((2, 0),)),
    "one dim by channel": (3, 4, 4, 4, (12,), (3,), (1,), (1,), ((2, 0),)),
    "three dims": (2, 8, 8, 1, (5, 5, 4), (2, 2, 3), (1, 1, 1), (1, 1, 1), ((0, 1), (1, 0), (1, 1))),
    "three dims by channel": (2, 3, 3, 3, (5, 5, 4), (2, 2, 3), (1, 1, 1), (1, 1, 1), ((0, 1), (1, 0), (1, 1))),
}
FORMATS = {
    "contiguous": torch.Tensor.contiguous,
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "expanded": lambda x: x[:1].expand(x.shape),
}


def gradients():
    """The function of the program."""
    scope = {"torch": torch, "F": F, "aten": torch.ops.aten, "product": product}
    exec(helpers_used("convolution_gradients("), scope)
    return scope["convolution_gradients"]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_example_has_the_gradient_of_a_convolution_of_itself(name, dtype, layout):
    """g[n,o,c,k] = Σ_u ȳ[n,o,u] x[n, c, stride·u + dilation·k − front]"""
    N, C, O, groups, places, kernel, stride, dilation, padding = CASES[name]
    torch.manual_seed(0)
    x = FORMATS[layout](torch.randn(N, C, *places, dtype=dtype))
    padded = F.pad(x, [amount for pair in reversed(padding) for amount in pair])
    weight = torch.zeros(O, C // groups, *kernel, dtype=dtype, requires_grad=True)
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(places) - 1]
    y = convolution(padded, weight, None, stride, 0, dilation, groups)
    cotangent = FORMATS[layout](torch.randn(y.shape, dtype=dtype))
    own = gradients()(x, cotangent, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    for n in range(N):
        (g,) = torch.autograd.grad(y[n], weight, cotangent[n].conj(), retain_graph=True)
        torch.testing.assert_close(
            own[n],
            g.conj(),
            rtol=1e-4 if dtype == torch.float32 else 1e-12,
            atol=1e-5 if dtype == torch.float32 else 1e-12,
        )
