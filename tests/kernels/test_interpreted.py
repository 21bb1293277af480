"""Every kernel, in Triton's interpreter, equals its reference: random shapes, strides, dtypes, empty batches."""

import random

import pytest
import torch

pytest.importorskip("triton")

from clipcompiler.kernels import references
from clipcompiler.kernels.on_gpu.convolution_sqnorm import convolution_sqnorm
from clipcompiler.kernels.on_gpu.embedding_sqnorm import embedding_sqnorm
from clipcompiler.kernels.on_gpu.gram_sqnorm import gram_sqnorm
from clipcompiler.kernels.on_gpu.instantiate_sqnorm import instantiate_sqnorm
from clipcompiler.kernels.on_gpu.layer_norm_sqnorm import layer_norm_sqnorm

SHAPES, PARTS = 200, 4
DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Draw:
    """Random sizes, and tensors with their dims in any order in memory, or cut out of larger ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.dtype = self.random.choice(DTYPES)
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
        return cut.permute([order.index(d) for d in range(len(shape))])


def gram(draw):
    n, s, i = draw.size(0, 3), draw.size(0, 40), draw.size(0, 40)
    cotangents = [draw.tensor(n, s, draw.size(1, 40)) for _ in range(draw.size(1, 4))]
    given = (cotangents, draw.tensor(n, s, i), [float(draw.size(0, 1)) for _ in cotangents])
    return gram_sqnorm, references.gram_sqnorm, given, {"S_TILE": draw.tile(), "FEATURES": draw.tile()}


def instantiate(draw):
    n, s, o, i = draw.size(0, 3), draw.size(0, 40), draw.size(1, 70), draw.size(0, 70)
    given = (draw.tensor(n, s, o), draw.tensor(n, s, i), draw.size(0, 1) == 1)
    tiles = {"O_TILE": draw.tile(), "I_TILE": draw.tile(), "POSITIONS": draw.tile()}
    return instantiate_sqnorm, references.instantiate_sqnorm, given, tiles


def convolution(draw):
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
    return convolution_sqnorm, references.convolution_sqnorm, (*given, draw.size(0, 1) == 1), tiles


def embedding(draw):
    n, s, d, v = draw.size(0, 3), draw.size(0, 60), draw.size(1, 40), draw.size(1, 30)
    rows = torch.randint(0, v, (n, s), generator=draw.generator)
    given = (draw.tensor(n, s, d), rows, draw.size(-1, v))
    return embedding_sqnorm, references.embedding_sqnorm, given, {"S_TILE": draw.tile(), "FEATURES": draw.tile()}


def layer_norm(draw):
    n, s, d = draw.size(0, 3), draw.size(0, 40), draw.size(1, 80)
    y, x = draw.tensor(n, s, d), draw.tensor(n, s, d)
    rstd = 1 / (1 + x.double().var(2, unbiased=False)).sqrt()
    given = (y, x, x.double().mean(2).to(x.dtype), rstd.to(x.dtype))
    return layer_norm_sqnorm, references.layer_norm_sqnorm, given, {"D_TILE": draw.tile(), "POSITIONS": draw.tile()}


def in_double(given):
    """The same numbers in float64."""
    if isinstance(given, torch.Tensor):
        return given.double() if given.is_floating_point() else given
    return type(given)(map(in_double, given)) if isinstance(given, (list, tuple)) else given


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kernel", [gram, instantiate, convolution, embedding, layer_norm])
def test_a_kernel_equals_its_reference(kernel, part):
    """Within 1e-5 of the size of the summands, against float64; float64 itself within 1e-12."""
    for seed in range(part * SHAPES // PARTS, (part + 1) * SHAPES // PARTS):
        draw = Draw(seed)
        run, reference, given, tiles = kernel(draw)
        found, expected = run(*given, **tiles), reference(*in_double(given))
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        scale = expected[1] if kernel in (gram, embedding) else None  # the squares may cancel, their parts do not
        for own, true in pairs:
            assert own.shape == true.shape and own.dtype is references.summed_in(draw.dtype), seed
            bound = (true if scale is None else scale).abs() * (1e-12 if draw.dtype is torch.float64 else 1e-5) + 1e-30
            assert ((own - true).abs() <= bound).all(), f"seed {seed}: {own} is not {true}"


@pytest.mark.parametrize("kernel", [gram, instantiate, convolution, embedding, layer_norm])
def test_a_reference_in_float32_equals_itself_in_float64(kernel):
    """What runs on a CPU in place of the kernel."""
    for seed in range(40):
        draw = Draw(seed)
        _, reference, given, _ = kernel(draw)
        found, expected = reference(*given), reference(*in_double(given))
        pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        scale = expected[1] if kernel in (gram, embedding) else None
        for own, true in pairs:
            bound = (true if scale is None else scale).abs() * 1e-5 + 1e-30
            assert ((own - true).abs() <= bound).all(), f"seed {seed}: {own} is not {true}"
