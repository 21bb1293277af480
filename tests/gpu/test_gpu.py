"""On a GPU: kernels, programs and compiled graphs are exact, in float64 and in half precision."""

import pytest
import torch
from comparison import assert_exact, median_norm
from kernels.draws import KERNELS, check
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.kernels import ops

pytestmark = pytest.mark.gpu

LOSS = nn.CrossEntropyLoss(reduction="none")


class Language(nn.Module):
    """A transformer whose head is its embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(50, 32), nn.Parameter(torch.randn(24, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)

    def forward(self, x):
        return F.linear(self.layer(self.embedding(x) + self.positions), self.embedding.weight)


class Recurrent(nn.Module):
    """A recurrent layer, and a head of its last state."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(8, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def by_token(output, target):
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(1)


def cnn():
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1, groups=2)
    )
    return nn.Sequential(body, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 3))


def floats(*shape):
    return lambda n: (torch.randn(n, *shape, device="cuda"), torch.randint(0, 3, (n,), device="cuda"))


def tokens(n):
    return tuple(torch.randint(0, 50, (n, 24), device="cuda") for _ in range(2))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3)), LOSS, floats(12)),
    "cnn": (cnn, LOSS, floats(3, 16, 16)),
    "language": (Language, by_token, tokens),
    "rnn": (lambda: Recurrent(nn.RNN), LOSS, floats(12, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM), LOSS, floats(12, 8)),
    "gru": (lambda: Recurrent(nn.GRU), LOSS, floats(12, 8)),
}
WAYS = {
    "eager": {}, "in chunks": {"chunk_size": 3}, "second pass": {"strategy": "reweight"},
    "inductor": {"backend": "inductor"}, "CUDA graphs": {"backend": "inductor", "mode": "reduce-overhead"},
}  # fmt: skip


def double(batch):
    return tuple(t.double() if t.is_floating_point() else t for t in batch)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_equals_its_reference(name, part):
    """Fifty shapes."""
    for seed in range(50 * part, 50 * part + 50):
        check(name, seed, lambda given, _: getattr(ops, name)(*given), device="cuda")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_exact(name, way):
    """In float64, for every number of examples."""
    if way == "second pass" and name in ("rnn", "lstm", "gru"):
        pytest.skip("a recurrent layer has no second pass")
    torch.manual_seed(0)
    make, loss, batch = MODELS[name]
    model = make().cuda().double()
    step = cc.compile(model, loss, max_grad_norm=median_norm(model, loss, double(batch(4))), **WAYS[way])
    for n in (4, 1, 7):
        assert_exact(step, double(batch(n)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["mlp", "language"])
def test_half_precision_holds_the_bound(name, dtype):
    """Norms of what the model's own dtype gives, summed in float32: no example contributes more than C."""
    torch.manual_seed(0)
    make, loss, batch = MODELS[name]
    model = make().cuda().to(dtype)
    given = tuple(t.to(dtype) if t.is_floating_point() else t for t in batch(4))
    step = cc.compile(model, loss, max_grad_norm=0.1)
    assert step(*given).norms.dtype is torch.float32
    assert float(step.audit(*given, examples=1)) <= 1 + 1e-2


def test_kernels_are_planned_where_they_are_cheapest():
    """A long sequence of wide features."""
    model = nn.Linear(1024, 1024).cuda()
    x = torch.randn(4, 512, 1024, device="cuda")
    step = cc.compile(model, lambda y, t: (y - t).square().mean((1, 2)), example_inputs=(x, x))
    assert "kernels." in step.source
