"""How flops, bytes and seconds grow with examples, positions and features: exponents, fitted.

What is predicted and what is held is exact, so that its exponents are; seconds are those of a machine.
"""

import math
from functools import cache, partial

import pytest
import torch
from comparison import mostly_slow
from torch import nn

import clipcompiler as cc
from benchmarks.peers.models import cases
from clipcompiler.autotune.timed import seconds_of
from clipcompiler.codegen import generate
from clipcompiler.memory.liveness import peak_of
from clipcompiler.plan import Machine, Order, choose
from clipcompiler.plan.choose import single
from clipcompiler.runtime.compilation import tensors_of
from clipcompiler.runtime.load import load
from clipcompiler.trace import N


def exponent(amount, sizes):
    """The slope of the line of least squares through log amount over log size."""
    logs = [(math.log(size), math.log(amount(size))) for size in sizes]
    x, y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)


class Positions(nn.Module):
    """One linear layer over S positions."""

    def __init__(self, features):
        super().__init__()
        self.fc = nn.Linear(features, features, bias=False)

    def forward(self, x):
        return self.fc(x).square().flatten(1).mean(1)


@cache
def one_layer(order, positions, features, tiled=False):
    """The plan of S positions by one order, its parameter's way, and the model."""
    torch.manual_seed(0)
    model = Positions(features)
    planned = cc.compile(model, example_inputs=(torch.randn(2, positions, features),)).plan
    (term,) = planned["fc.weight"].terms
    ways = choose.candidates(term.source, "fc.weight", (term,))
    own = [way for way in ways if way.order is order and (way.trees[0].tile is not None) == tiled]
    way = min(own, key=lambda way: way.seconds(Machine()))
    return single(planned, way), way, model


def flops(order, positions=512, features=64, examples=1):
    """The predicted flops of the norm."""
    _, way, _ = one_layer(order, positions, features)
    return float(way.norm.flops.subs(N, examples))


def arguments(planned, model, positions, features, examples):
    """What the program of a layer is called with."""
    given = tensors_of(planned, generate(planned), model, None)
    return (*given.values(), torch.randn(examples, positions, features))


def bytes_held(order, positions, features=16, tiled=False, examples=2):
    """The most bytes that a step of one layer holds, counted on tensors without data."""
    planned, _, model = one_layer(order, positions, features, tiled)
    program = generate(planned)
    given, batch = tensors_of(planned, program, model, None), (torch.empty(examples, positions, features),)
    return peak_of(load(program, "a layer"), given, batch, examples, {"max_grad_norm": 1.0, "chunk": None})


def seconds(order, positions, features, examples):
    """The median seconds of the squared norm and the clipped sum by one order."""
    planned, _, model = one_layer(order, positions, features)
    given = arguments(planned, model, positions, features, examples)
    options = {"max_grad_norm": 1.0, "chunk": None}
    return seconds_of([planned], given, options, repeats=9, limit=20)[0]


def test_predicted_flops_of_a_gram():
    """S²(O + I), of N examples."""
    assert exponent(lambda s: flops(Order.GRAM, positions=s), (256, 512, 1024, 2048)) == pytest.approx(2, abs=0.02)
    assert exponent(lambda d: flops(Order.GRAM, features=d), (64, 128, 256)) == pytest.approx(1, abs=0.02)
    assert exponent(lambda n: flops(Order.GRAM, examples=n), (1, 10, 100)) == pytest.approx(1)


def test_predicted_flops_of_an_instantiation():
    """S·O·I, of N examples."""
    assert exponent(lambda s: flops(Order.KEEP, positions=s), (256, 512, 1024, 2048)) == pytest.approx(1, abs=0.02)
    assert exponent(lambda d: flops(Order.KEEP, features=d), (64, 128, 256)) == pytest.approx(2, abs=0.02)
    assert exponent(lambda n: flops(Order.KEEP, examples=n), (1, 10, 100)) == pytest.approx(1)


def test_bytes_held_by_an_order():
    """S² for the Gram of all positions, S for an instantiation."""
    assert exponent(partial(bytes_held, Order.GRAM), (1024, 2048, 4096)) == pytest.approx(2, abs=0.1)
    assert exponent(partial(bytes_held, Order.KEEP), (1024, 2048, 4096)) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_bytes_held_by_a_gram_in_tiles():
    """S, where the operands outweigh the tiles."""
    assert exponent(partial(bytes_held, Order.GRAM, tiled=True), (8192, 16384)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", mostly_slow(["cnn", "mlp", "transformer", "lstm"]))
def test_bytes_held_by_examples(name):
    """Beside the sums, N; and no more than for one chunk where they are run in chunks."""
    case = cases(small=True)[name]
    model, batch = case.build(), case.batch(8)
    step = cc.compile(model, case.loss_fn).prepare(*batch)
    program = step.latest.program
    given = tensors_of(step.plan, program, model, case.loss_fn)
    function = load(program, name)

    def held(examples, chunk):
        options = {"max_grad_norm": 1.0, "chunk": chunk}
        return peak_of(function, given, batch, examples, options)

    assert exponent(lambda n: held(2 * n, None) - held(n, None), (128, 256, 512)) == pytest.approx(1, abs=0.02)
    rows = held(48, 8) - held(24, 8)  # the losses, norms and clip factors of 24 examples, and the parts of them
    assert rows <= 24 * 4 * 8


@pytest.mark.slow
def test_seconds_by_positions():
    """Measured: the Gram takes S², an instantiation S."""
    by_gram = exponent(lambda s: seconds(Order.GRAM, s, 64, 4), (192, 384, 768))
    by_instantiation = exponent(lambda s: seconds(Order.KEEP, s, 64, 4), (2048, 4096, 8192, 16384))
    assert by_gram == pytest.approx(2, abs=0.35)
    assert by_instantiation == pytest.approx(1, abs=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("order", [Order.GRAM, Order.KEEP])
def test_seconds_by_examples(order):
    """Measured: N examples take N times as long."""
    assert exponent(lambda n: seconds(order, 256, 64, n), (64, 128, 256, 512)) == pytest.approx(1, abs=0.25)
