"""Random feed-forward and convolutional models, exact against one backward pass an example."""

from itertools import pairwise

import torch
from comparison import assert_exact
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.PReLU, nn.SiLU)


@st.composite
def feed_forward(draw):
    """Linear layers with activations and norms, some frozen, some without a bias, over positions or not."""
    widths = draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    layers = []
    for a, b in pairwise(widths):
        layers.append(nn.Linear(a, b, bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(draw(st.sampled_from(ACTIVATIONS))())
        if draw(st.booleans()):
            layers.append(nn.LayerNorm(b, elementwise_affine=draw(st.booleans())))
    layers.append(nn.Linear(widths[-1], 3))
    if draw(st.booleans()):
        layers[0].requires_grad_(False)
    positions = draw(st.sampled_from([(), (1,), (4,), (2, 3)]))
    reduce = nn.Flatten(0, 0) if not positions else Mean(len(positions))
    return nn.Sequential(*layers, reduce).double(), (*positions, widths[0])


class Mean(nn.Module):
    """The mean over the positions."""

    def __init__(self, count):
        super().__init__()
        self.dims = tuple(range(1, 1 + count))

    def forward(self, x):
        return x.mean(self.dims)


@st.composite
def convolutional(draw):
    """Convolutions and transposes of one or two dims with random strides, paddings, dilations and groups."""
    rank = draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 2]))
    channels = [2 * draw(st.integers(1, 2)) for _ in range(3)]
    layers, transposed = [], draw(st.booleans())
    for k, (a, b) in enumerate(pairwise(channels)):
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d) if transposed and k else (nn.Conv1d, nn.Conv2d)
        options = {"stride": draw(st.integers(1, 2)), "padding": draw(st.integers(0, 1)), "bias": draw(st.booleans())}
        options["dilation"] = draw(st.integers(1, 2))
        layers.append(kind[rank - 1](a, b, draw(st.integers(1, 3)), groups=groups, **options))
        layers.append(draw(st.sampled_from([nn.ReLU(), nn.GroupNorm(2, b), nn.Identity()])))
    layers += [(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[rank - 1](2), nn.Flatten()]
    layers.append(nn.Linear(channels[-1] * 2**rank, 3))
    return nn.Sequential(*layers).double(), (channels[0], *(draw(st.integers(13, 15)) for _ in range(rank)))


def check(model, shape, sizes):
    """One compilation, exact at every size."""
    step = cc.compile(model, LOSS, max_grad_norm=0.5)
    for size in sizes:
        assert_exact(step, (torch.randn(size, *shape, dtype=torch.float64), torch.randint(0, 3, (size,))))
    assert step.compilations == 1


@settings(max_examples=8)
@given(feed_forward())
def test_random_feed_forward_models_are_exact(drawn):
    """N in {1, 3}: norms and sums within 1e-10."""
    check(*drawn, sizes=(1, 3))


@settings(max_examples=8)
@given(convolutional())
def test_random_convolutional_models_are_exact(drawn):
    """N in {1, 3}: norms and sums within 1e-10."""
    check(*drawn, sizes=(1, 3))
