"""backend="inductor": the same norms and sums from one compiled graph, for every number of examples."""

import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.nn import functional as F

import clipcompiler as cc
from paper_models import build

LOSS = nn.CrossEntropyLoss(reduction="none")


def images(n, *shape):
    torch.manual_seed(n)
    return torch.randn(n, *shape, dtype=torch.float64), torch.randint(0, 3, (n,))


def small(*shape):
    """N → images of that shape, and their classes."""
    return lambda n: images(n, *shape)


def tokens(n):
    torch.manual_seed(n)
    return torch.randint(0, 11, (n, 7)), torch.randint(0, 11, (n, 7))


class Language(nn.Module):
    """A transformer whose head is its embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(11, 8), nn.Parameter(torch.randn(7, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, x):
        return F.linear(self.layer(self.embedding(x) + self.positions), self.embedding.weight)


class Recurrent(nn.Module):
    """A recurrent layer, and a head of its last state."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.head = kind(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def by_token(output, target):
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(1)


def mlp():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))


def cnn():
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(body, nn.Linear(6 * 16, 3))


MODELS = {
    "mlp": (mlp, LOSS, small(12)),
    "cnn": (cnn, LOSS, small(3, 8, 8)),
    "tied language model": (Language, by_token, tokens),
    "rnn": (lambda: Recurrent(nn.RNN), LOSS, small(6, 4)),
    "lstm": (lambda: Recurrent(nn.LSTM), LOSS, small(6, 4)),
    "gru": (lambda: Recurrent(nn.GRU), LOSS, small(6, 4)),
}
QUICK = ("mlp",)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_a_compiled_graph_is_exact_for_every_number_of_examples(name, recwarn):
    """In float64, within what is promised of the loop; nothing falls back."""
    torch.manual_seed(0)
    make, loss, batch = MODELS[name]
    model = make().double()
    step = cc.compile(model, loss, max_grad_norm=median_norm(model, loss, batch(4)), backend="inductor")
    for n in (4, 3, 1, 7):
        assert_exact(step, batch(n))
    step(*batch(0))
    graphs = step._latest.function.graphs
    assert sum(map(len, graphs.values())) <= 2  # one for any number, one for one example
    assert not [w for w in recwarn if "inductor" in str(w.message)]


@pytest.mark.slow
def test_channels_last(recwarn):
    """Of the batch and of the weights; a batch of another layout has a graph of its own."""
    torch.manual_seed(0)
    model = cnn().double().to(memory_format=torch.channels_last)
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, images(4, 3, 8, 8)), backend="inductor")
    for n in (4, 3):
        x, y = images(n, 3, 8, 8)
        assert_exact(step, (x.to(memory_format=torch.channels_last), y))
        assert_exact(step, (x, y))
    assert not [w for w in recwarn if "inductor" in str(w.message)]


@pytest.mark.slow
def test_a_length_of_the_batch_may_vary(recwarn):
    """One program, and a graph for each length."""
    torch.manual_seed(0)
    model = Recurrent(nn.RNN).double()
    bound = median_norm(model, LOSS, images(4, 6, 4))
    step = cc.compile(model, LOSS, max_grad_norm=bound, backend="inductor", dynamic={"x": {1: "T"}})
    for n, t in ((4, 6), (3, 6), (4, 9)):
        assert_exact(step, images(n, t, 4))
    assert step.compilations == 1
    assert not [w for w in recwarn if "inductor" in str(w.message)]


PAPER = {
    "mlp": (28, 1.0),
    "cnn": (28, 1.0),
    "rnn": (28, 0.25),
    "lstm": (28, 0.25),
    "vgg11": (32, 0.125),
    "resnet18": (32, 0.125),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_the_models_of_the_paper_are_exact(name, recwarn):
    """At two numbers of examples."""
    torch.manual_seed(0)
    pixels, width = PAPER[name]
    model = build(name, width=width, channels=1, image_size=pixels).double()
    batch = small(1, pixels, pixels)
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch(3)), backend="inductor")
    for n in (3, 5):
        assert_exact(step, batch(n))
    assert sum(map(len, step.latest.function.graphs.values())) == 1
    assert not [w for w in recwarn if "inductor" in str(w.message)]


def language_of_floats():
    """A transformer of embedded values, for half precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16), nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), nn.Flatten(), nn.Linear(96, 3)
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_bounded(autocast, dtype, recwarn):
    """Under autocast, and with parameters in half precision: nobody contributes more than C; losses as they are run."""
    model = language_of_floats()
    x, y = torch.randn(6, 6, 4), torch.randint(0, 3, (6,))
    if not autocast:
        model, x = model.to(dtype), x.to(dtype)
    steps = [cc.compile(model, LOSS, backend=backend) for backend in ("inductor", "eager")]
    with torch.autocast("cpu", dtype, enabled=autocast):
        lowered, eager = (step.gradients(x, y)[0] for step in steps)
        for step in steps:
            step.max_grad_norm = float(eager.norms.median())
        assert float(steps[0].audit(x, y)) <= 1 + 1e-5
    assert lowered.norms.dtype is torch.float32
    torch.testing.assert_close(lowered.losses, eager.losses, rtol=0, atol=8 * torch.finfo(dtype).eps)
    torch.testing.assert_close(lowered.norms, eager.norms, rtol=8 * torch.finfo(dtype).eps, atol=0)
    assert not [w for w in recwarn if "inductor" in str(w.message)]


@pytest.mark.slow
def test_what_is_not_written_of_a_layer_norm():
    """Inductor multiplies ȳ and x̂ where it sums: of [N, S, D] there is one buffer, for what the layer gives."""
    n, s, d = 3, 50, 40
    model = nn.Sequential(nn.LayerNorm(d), nn.Tanh(), nn.Flatten()).double()
    batch = torch.randn(n, s, d, dtype=torch.float64), torch.zeros(n, s * d, dtype=torch.float64)
    step = cc.compile(model, lambda out, y: ((out - y) ** 2).sum(1), backend="inductor")
    _, codes = run_and_get_code(lambda: step.gradients(*batch))
    assert_exact(step, batch)
    assert len(re.findall(rf"empty_strided_cpu\(\(\w+, {s}, {d}\)", "".join(codes))) == 1


AGAIN = """
import torch
from torch import nn
import clipcompiler as cc

model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).double()
step = cc.compile(model, nn.CrossEntropyLoss(reduction="none"), backend="inductor")
for n in (3, 5, 9):
    batch = torch.randn(n, 1, 8, 8).double(), torch.randint(0, 3, (n,))
    print(step.verify(*batch) < 1e-10)
"""


@pytest.mark.slow
def test_a_graph_found_in_the_cache_holds_for_what_it_held_for(tmp_path):
    """A second process compiles nothing, and is exact for every number of examples."""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", AGAIN], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.stdout.split() == ["True"] * 3, ran.stderr[-2000:]


def test_chunks_are_compiled_once(recwarn):
    """Seven examples, three at a time: two graphs."""
    model = mlp().double()
    batch = images(7, 12)
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch), backend="inductor", chunk_size=3)
    assert_exact(step, batch)
    assert not [w for w in recwarn if "inductor" in str(w.message)]


def test_a_mean_that_does_not_count_every_target_is_refused_in_a_graph_too():
    """A graph looks at no data: what was counted is one of its results."""

    def mean(output, target):
        return F.cross_entropy(output.transpose(1, 2), target)

    step = cc.compile(nn.Linear(6, 5).double(), mean, backend="inductor")
    x, y = torch.randn(4, 3, 6).double(), torch.randint(0, 5, (4, 3))
    assert_exact(step, (x, y))
    y[1, 2] = -100
    with pytest.raises(cc.UnsupportedLoss, match="a target is -100"):
        step(x, y)


def test_dropout_draws_anew_at_every_call():
    """And what a mask leaves out differs from example to example."""
    model = nn.Sequential(nn.Linear(12, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    step = cc.compile(model, LOSS, backend="inductor")
    x = torch.randn(1, 12).expand(6, 12)
    first, second = (step.gradients(x, torch.zeros(6, dtype=torch.long))[0].losses for _ in range(2))
    assert len({round(float(v), 5) for v in (*first, *second)}) > 6


def test_a_failure_is_told_once_and_run_eagerly(monkeypatch):
    """Never another result."""

    def fail(*args, **kwargs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch._inductor, "compile", fail)
    model = mlp().double()
    batch = images(4, 12)
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch), backend="inductor")
    with pytest.warns(UserWarning, match="fails for this program, which is run eagerly instead.*no compiler here"):
        step(*batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_exact(step, batch)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt': give 'eager' or 'inductor'"),
        ({"backend": "inductor", "mode": "fast"}, "mode is 'fast': give None, 'reduce-overhead'"),
        ({"mode": "reduce-overhead"}, "mode='reduce-overhead' is Inductor's"),
    ],
)
def test_what_is_no_backend(given, match):
    with pytest.raises(ValueError, match=match):
        cc.compile(mlp(), LOSS, **given)
