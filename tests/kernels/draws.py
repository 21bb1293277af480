"""Random shapes, strides and dtypes for every kernel, and how a result is held against its reference."""

import random

import torch

from clipcompiler.kernels import references

__all__ = ["KERNELS", "check"]

DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Draw:
    """Random sizes, and tensors with their dims in any order in memory, or cut out of larger ones."""

    def __init__(self, seed, device="cpu"):
        self.random = random.Random(seed)
        self.dtype = self.random.choice(DTYPES)
        self.device = torch.device(device)
        self.generator = torch.Generator().manual_seed(seed)

    def size(self, least, most):
        return self.random.randint(least, most)

    def tile(self):
        return self.random.choice([16, 32])

    def tensor(self, *shape):
        order = self.random.sample(range(len(shape)), len(shape))
        extra = self.random.choice([0, 0, 3])
        stored = torch.randn([shape[d] + extra for d in order], generator=self.generator).to(self.dtype)
        cut = stored[tuple(slice(extra, None) for _ in order)]
        return cut.permute([order.index(d) for d in range(len(shape))]).to(self.device)


def gram_sqnorm(draw):
    n, s, i = draw.size(0, 3), draw.size(0, 40), draw.size(0, 40)
    cotangents = [draw.tensor(n, s, draw.size(1, 40)) for _ in range(draw.size(1, 4))]
    given = (cotangents, draw.tensor(n, s, i), [float(draw.size(0, 1)) for _ in cotangents])
    return given, {"S_TILE": draw.tile(), "FEATURES": draw.tile()}


def instantiate_sqnorm(draw):
    n, s, o, i = draw.size(0, 3), draw.size(0, 40), draw.size(1, 70), draw.size(0, 70)
    given = (draw.tensor(n, s, o), draw.tensor(n, s, i), draw.size(0, 1) == 1)
    tiles = {"O_TILE": draw.tile(), "I_TILE": draw.tile(), "POSITIONS": draw.tile()}
    return given, tiles


def convolution_sqnorm(draw):
    dims, n, groups = draw.size(1, 3), draw.size(1, 2), draw.size(1, 3)
    kernel = [draw.size(1, 3) for _ in range(dims)]
    stride, dilation, padding = ([draw.size(least, 2) for _ in kernel] for least in (1, 1, 0))
    spatial = [draw.size(d * (k - 1) + 1, d * (k - 1) + 6) for k, d in zip(kernel, dilation, strict=True)]
    places = [
        (x + 2 * p - d * (k - 1) - 1) // s + 1
        for x, k, s, p, d in zip(spatial, kernel, stride, padding, dilation, strict=True)
    ]
    o, c = groups * draw.size(1, 5), groups * draw.size(1, 5)
    given = (draw.tensor(n, o, *places), draw.tensor(n, c, *spatial), kernel, stride, padding, dilation, groups)
    tiles = {"O_TILE": draw.tile(), "I_TILE": draw.tile(), "POSITIONS": draw.tile()}
    return (*given, draw.size(0, 1) == 1), tiles


def embedding_sqnorm(draw):
    n, s, d, v = draw.size(0, 3), draw.size(0, 60), draw.size(1, 40), draw.size(1, 30)
    rows = torch.randint(0, v, (n, s), generator=draw.generator).to(draw.device)
    given = (draw.tensor(n, s, d), rows, draw.size(-1, v))
    return given, {"S_TILE": draw.tile(), "FEATURES": draw.tile()}


def of_steps(draw):
    """T, N, H, and tensors of such sizes: values of gates between 0 and 1, or −1 and 1."""
    shape = draw.size(1, 5), draw.size(0, 20), draw.size(1, 40)

    def squashed(own, *sizes):
        return own(draw.tensor(*sizes).float()).to(draw.dtype)

    return shape, squashed, {"EXAMPLES": 16, "FEATURES": draw.tile()}


def lstm_scan(draw):
    (t, n, h), squashed, tiles = of_steps(draw)
    sigmoid, g = squashed(torch.sigmoid, t, n, 4 * h), squashed(torch.tanh, t, n, h)
    gates = torch.cat((sigmoid[..., : 2 * h], g, sigmoid[..., 3 * h :]), 2)
    c = draw.tensor(t + 1, n, h)
    weight = draw.tensor(4 * h, h) / (2 * h**0.5)
    return (gates, c, c[1:].tanh(), draw.tensor(t, n, h), draw.tensor(n, h), weight), tiles


def gru_scan(draw):
    (t, n, h), squashed, tiles = of_steps(draw)
    gates = torch.cat((squashed(torch.sigmoid, t, n, 2 * h), squashed(torch.tanh, t, n, h)), 2)
    weight = draw.tensor(3 * h, h) / (2 * h**0.5)
    return (gates, draw.tensor(t, n, h), squashed(torch.tanh, t + 1, n, h), draw.tensor(t, n, h), weight), tiles


def rnn_scan(draw):
    (t, n, h), squashed, tiles = of_steps(draw)
    relu = draw.size(0, 1) == 1
    weight = draw.tensor(h, h) / (2 * h**0.5)
    return (squashed(torch.relu if relu else torch.tanh, t + 1, n, h), draw.tensor(t, n, h), weight, relu), tiles


#: By name: what draws the arguments, and the sizes of tiles for the interpreter.
KERNELS = {draw.__name__: draw for draw in (
    gram_sqnorm, instantiate_sqnorm, convolution_sqnorm, embedding_sqnorm,
    lstm_scan, gru_scan, rnn_scan,
)}  # fmt: skip


def in_double(given):
    """The same numbers in float64."""
    if isinstance(given, torch.Tensor):
        return given.double() if given.is_floating_point() else given
    return type(given)(map(in_double, given)) if isinstance(given, (list, tuple)) else given


#: How far a square, or a cotangent, may be from the reference in float64, relative to the size of what is summed.
SQUARES = {torch.float64: 1e-12}
COTANGENTS = {torch.float64: 1e-12, torch.bfloat16: 16 * 2**-8, torch.float16: 16 * 2**-11}
WITHIN = 1e-5


def check(name, seed, run, device="cpu"):
    """``run`` on what a seed draws equals the reference in float64: within 1e-5 of the size of the summands.

    Cotangents are rounded to the dtype of the model at every step.
    """
    draw = Draw(seed, device)
    given, tiles = KERNELS[name](draw)
    found, expected = run(given, tiles), getattr(references, name)(*in_double(given))
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    scale = expected[1] if name in ("gram_sqnorm", "embedding_sqnorm") else None  # squares may cancel, parts do not
    for own, true in pairs:
        assert own.shape == true.shape, seed
        if name.endswith("_scan"):
            assert own.dtype is draw.dtype, seed
            size = true.abs().amax() if true.numel() else true
            bound = size * COTANGENTS.get(draw.dtype, WITHIN)
        else:
            assert own.dtype is references.summed_in(draw.dtype), seed
            bound = (true if scale is None else scale).abs() * SQUARES.get(draw.dtype, WITHIN) + 1e-30
        assert ((own - true).abs() <= bound).all(), f"seed {seed}: {own} is not {true}"
