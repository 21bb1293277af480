"""Under torch.autocast, and of models that turn it on or off for parts of themselves: losses are theirs, norms exact.

The program has the casts of autocast as ops, and runs without it: what computes norms is not rounded.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.trace.autocast import Autocast

LOSS = nn.CrossEntropyLoss(reduction="none")


class Tied(nn.Module):
    """A transformer whose head is its embedding, with an angle that it computes without autocast."""

    def __init__(self):
        super().__init__()
        self.embedding, self.scale = nn.Embedding(20, 16), nn.Parameter(torch.ones(16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)

    def forward(self, x):
        h = self.embedding(x)
        with torch.autocast("cpu", enabled=False):
            angle = (h.float() @ self.scale).cos()
        return F.linear(self.layer(h * angle[..., None]), self.embedding.weight).flatten(1)[:, :3]


class Partly(nn.Module):
    """A model that computes a part of itself under autocast, some of it without gradients."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        h = self.a(x)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                mean = self.b(h).mean(1, keepdim=True)
            h = torch.tanh(self.b(h) - mean)
            with torch.autocast("cpu", enabled=False):
                return self.c(h.float())


class Recurrent(nn.Module):
    """An LSTM, and a head of its last state."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 8 * 8, 3),
    )  # fmt: skip


def floats(*shape):
    return lambda n: (torch.randn(n, *shape), torch.randint(0, 3, (n,)))


def tokens(n):
    return torch.randint(0, 20, (n, 7)), torch.randint(0, 3, (n,))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3)), floats(8)),
    "cnn": (cnn, floats(8, 8)),
    "tied": (Tied, tokens),
    "partly": (Partly, floats(8)),
    "lstm": (Recurrent, floats(5, 8)),
}


def made(name):
    torch.manual_seed(0)
    build, batch = MODELS[name]
    return build(), batch


CASES = [(name, dtype) for name in MODELS for dtype in (torch.bfloat16, torch.float16)]
CASES.remove(("lstm", torch.float16))  # torch has no LSTM in float16 on a CPU


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_step_under_autocast(name, dtype):
    """The losses are those of the model under autocast; the equations hold; nobody contributes more than C."""
    model, batch = made(name)
    x, target = batch(6)
    step = cc.compile(model, LOSS)
    with torch.autocast("cpu", dtype):
        step.max_grad_norm = float(step.gradients(x, target)[0].norms.median())
        expected = LOSS(model(x), target)
        result, gradients = step.gradients(x, target)
        assert step.verify(x, target) < 1e-9
        assert float(step.audit(x, target, examples=0)) <= 1
    atol = 2e-3 if name == "lstm" else 0  # torch's own LSTM in bfloat16 rounds elsewhere
    torch.testing.assert_close(result.losses.float(), expected.float(), rtol=0, atol=atol)
    assert result.norms.dtype is torch.float32
    assert {g.dtype for g in gradients.values()} == {torch.float32}
    assert f".to({dtype})" in step.source


@pytest.mark.parametrize("name", MODELS)
def test_norms_are_those_of_a_loop_under_autocast(name):
    """Of one backward pass an example under autocast, but for how its sums are rounded to the narrow dtype."""
    model, batch = made(name)
    x, target = batch(5)
    step = cc.compile(model, LOSS, max_grad_norm=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        norms = step.gradients(x, target)[0].norms
        loop = []
        for n in range(5):
            model.zero_grad()
            LOSS(model(x[n : n + 1]), target[n : n + 1]).sum().backward()
            loop.append(torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt())
    torch.testing.assert_close(norms, torch.stack(loop), rtol=0.03, atol=1e-3)


def test_each_state_of_autocast_has_a_program():
    """A call without autocast is not answered by a program with casts, nor the other way round."""
    model, batch = made("mlp")
    step = cc.compile(model, LOSS)
    plain = step.gradients(*batch(4))[0]
    assert ".to(torch.bfloat16)" not in step.source
    with torch.autocast("cpu", torch.bfloat16):
        assert step.gradients(*batch(4))[0].losses is not plain.losses
        assert ".to(torch.bfloat16)" in step.source
    step.gradients(*batch(4))
    assert ".to(torch.bfloat16)" not in step.source
    assert step.compilations == 2


def test_a_generated_step_is_not_rounded_by_autocast():
    """The printed module, called under autocast, has the norms that it has without."""
    model, batch = made("mlp")
    x, target = batch(4)
    step = cc.compile(model, LOSS, example_inputs=(x, target))
    scope = {}
    exec(step.source, scope)
    own = scope["ClippedStep"](model)
    with torch.autocast("cpu", torch.bfloat16):
        found = own(x, target)
    assert torch.equal(found[1], step.gradients(x, target)[0].norms)


def test_what_is_on_is_left_as_it_was():
    """Also where the model cannot be traced."""
    model, batch = made("partly")
    model.c.register_full_backward_hook(lambda *_: None)
    with torch.autocast("cpu", torch.float16):
        before, caches = Autocast.now(), torch.is_autocast_cache_enabled()
        with pytest.raises(cc.UntraceableModel, match="backward hook"):
            cc.compile(model, LOSS).gradients(*batch(2))
        assert Autocast.now() == before and torch.is_autocast_cache_enabled() == caches
