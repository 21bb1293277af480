"""Kernels as orders of the planner: chosen where cheapest, printed, and exact; on a CPU by their references."""

import json
from dataclasses import asdict

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn

import clipcompiler as cc
from clipcompiler.plan import Machine

LOSS = nn.CrossEntropyLoss(reduction="none")


@pytest.fixture(autouse=True)
def machine_with_kernels(monkeypatch, tmp_path):
    """Memory is slow and a kernel as fast as any product: what writes least is cheapest."""
    machine = Machine(flops=1e15, bytes=1e7, call=1e-12, fused=1.0)
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(asdict(machine)))
    monkeypatch.setenv("CLIPCOMPILER_MACHINE", str(path))


class Pooled(nn.Module):
    """A body over positions, their mean, and a head."""

    def __init__(self, body, features):
        super().__init__()
        self.body, self.head = body, nn.Linear(features, 3)

    def forward(self, x):
        return self.head(self.body(x).mean(1))


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Tagged(nn.Module):
    """Embedded tokens, some of them padding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(60, 6, padding_idx=2), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.embedding((x[..., 0].abs() * 3).long() % 7).tanh().mean(1))


def convolutions():
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.Conv2d(4, 6, (2, 3), groups=2, dilation=(1, 2), padding=2),
    )
    return nn.Sequential(
        nn.Unflatten(1, (1, 11)), body, nn.Tanh(), nn.ConvTranspose2d(6, 2, 2), nn.Flatten(), nn.LazyLinear(3)
    )


MODELS = {
    "embedding": Tagged,
    "convolutions": convolutions,
    "wide": lambda: Pooled(nn.Sequential(nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 30)), 30),
    "narrow": lambda: Pooled(nn.Sequential(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, 3)), 3),
    "without bias": lambda: Pooled(nn.Linear(8, 30, bias=False), 30),
    "encoder": lambda: Pooled(encoder(), 8),
}


def batch(n, dtype=torch.float64):
    torch.manual_seed(n)
    return torch.randn(n, 11, 8, dtype=dtype), torch.randint(0, 3, (n,))


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_with_kernels_is_exact(name):
    """One compilation for every number of examples."""
    torch.manual_seed(0)
    model = MODELS[name]().double()
    model(batch(2)[0])
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch(4)))
    for n in (4, 1, 2, 0, 5):
        assert_exact(step, batch(n)) if n else step(*batch(0))
    assert "kernels." in step.source and "from clipcompiler import kernels" in step.source
    assert "by a kernel" in str(step.plan)


def test_every_kernel_is_chosen():
    """A Gram where features are many, a gradient where they are few; a bias is folded into the Gram."""
    wide = cc.compile(MODELS["wide"](), LOSS, example_inputs=batch(4, torch.float32)).source
    narrow = cc.compile(MODELS["narrow"](), LOSS, example_inputs=batch(4, torch.float32)).source
    assert "kernels.gram_sqnorm([" in wide and "[1.0])" in wide
    assert "kernels.instantiate_sqnorm(" in narrow
    lazy = convolutions().float()
    lazy(batch(2, torch.float32)[0])
    windows = cc.compile(lazy, LOSS, example_inputs=batch(4, torch.float32)).source
    assert windows.count("kernels.convolution_sqnorm(") >= 2
    rows = cc.compile(Tagged(), LOSS, example_inputs=batch(4, torch.float32)).source
    assert "kernels.embedding_sqnorm(" in rows


def test_a_kernel_reads_half_precision_as_it_is():
    """Its products are summed in float32: the norms are those of the same tensors in float64."""
    model = MODELS["wide"]().bfloat16()
    step = cc.compile(model, LOSS, example_inputs=batch(4, torch.bfloat16))
    call = next(line for line in step.source.splitlines() if "kernels.gram_sqnorm" in line)
    assert ".to(torch.float32)" not in call
    assert step(*batch(4, torch.bfloat16)).norms.dtype is torch.float32
    assert float(step.audit(*batch(4, torch.bfloat16), examples=0)) <= 1


class Attention(nn.Module):
    """Queries, keys and values of one x."""

    def __init__(self):
        super().__init__()
        self.up, self.q, self.k, self.v = (
            nn.Linear(8, 40),
            nn.Linear(40, 30),
            nn.Linear(40, 30, False),
            nn.Linear(40, 50),
        )

    def forward(self, x):
        x = self.up(x).tanh()
        return torch.softmax(self.q(x) @ self.k(x).mT, -1) @ self.v(x)


def test_the_grams_of_one_input_are_one_launch():
    """Of queries, keys and values; the biases of some of them folded in."""
    torch.manual_seed(0)
    model = Pooled(Attention(), 50).double()
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch(4)))
    for n in (4, 1, 5):
        assert_exact(step, batch(n))
    assert step.source.count("kernels.gram_sqnorm(") == 1
    assert "[1.0,0.0,1.0]" in "".join(step.source.split())
    assert "one launch for body.q.weight and body.k.weight and body.v.weight" in step.source


class Recurrent(nn.Module):
    """A recurrent layer of either direction, and a head of all its states."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(8, 5, batch_first=True, bidirectional=True, **options)
        self.head = nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.layer(x)[0].mean(1))


SCANNED = {
    "rnn": lambda: Recurrent(nn.RNN),
    "rnn of relu": lambda: Recurrent(nn.RNN, nonlinearity="relu"),
    "lstm": lambda: Recurrent(nn.LSTM),
    "lstm of two layers": lambda: Recurrent(nn.LSTM, num_layers=2),
    "lstm with projections": lambda: Recurrent(nn.LSTM, proj_size=3),
    "gru": lambda: Recurrent(nn.GRU),
    "gru without biases": lambda: Recurrent(nn.GRU, bias=False),
}


@pytest.mark.parametrize("name", SCANNED)
def test_a_recurrent_layer_is_scanned_by_a_kernel(name):
    """From the last step to the first, in one launch."""
    torch.manual_seed(0)
    model = SCANNED[name]().double()
    model(batch(2)[0])
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch(4)))
    for n in (4, 1, 2, 5):
        assert_exact(step, batch(n))
    assert "_scan(" in step.source
    assert "one kernel for all steps" in str(step.plan)


def test_where_no_kernel_runs_none_is_chosen(monkeypatch):
    monkeypatch.setenv("CLIPCOMPILER_MACHINE", "nominal")
    step = cc.compile(MODELS["wide"](), LOSS, example_inputs=batch(4, torch.float32))
    assert "kernels" not in step.source
