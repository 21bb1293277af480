"""The recurrent layers that a generated program carries with it: the ops that they stand for, values and gradients.

On a GPU they run torch's fused layer forward and compute the gates after that; that path runs on a CPU too, and is
tried here.
"""

import pytest
import torch
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.codegen.recurrent import RECURRENT_SOURCES
from clipcompiler.dsl import layers
from paper_models import RowByRow
from timing import interleave

T, N, I, H, P = 5, 4, 3, 6, 2
GATES = {"lstm": 4, "lstm projected": 4, "gru": 3, "rnn": 1, "rnn relu": 1}
KINDS = [(kind, fused) for kind in GATES for fused in (False, True)]
TAPS = {"lstm": ["z"], "lstm projected": ["z", "p"], "gru": ["zx", "zh"], "rnn": ["z"], "rnn relu": ["z"]}


def functions(fused):
    """The functions of the program, as on a GPU where ``fused``."""
    scope = {"torch": torch, "F": F}
    source = "\n".join(RECURRENT_SOURCES.values())
    assert "x.is_cuda" in source
    exec(source.replace("x.is_cuda", str(fused)), scope)
    return scope


def operands(kind, steps, examples, dtype, bias=True, states=True):
    """x, the first states and the weights of a layer."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    size = P if kind == "lstm projected" else H
    first = [drawn(examples, size), drawn(examples, H)][: 1 + kind.startswith("lstm")]
    G = GATES[kind] * H
    biases = [drawn(G), drawn(G)] if bias else [None, None]
    projection = [drawn(P, H)] if kind == "lstm projected" else []
    weights = [drawn(G, I), drawn(G, size), *biases, *projection]
    return drawn(steps, examples, I), first if states else [None] * len(first), weights


def taps(kind, steps, examples, dtype):
    """Zeros for every pre-activation."""
    sizes = {"z": GATES[kind] * H, "zx": 3 * H, "zh": 3 * H, "p": P}
    made = {name: torch.zeros((), dtype=dtype).expand(steps, examples, sizes[name]) for name in TAPS[kind]}
    return {name: zeros.requires_grad_() for name, zeros in made.items()}


def run(function, kind, x, first, weights, zeros):
    """The outputs that a model reads, and the gradients of x, first states and taps for drawn cotangents."""
    own = [v.detach().requires_grad_() for v in (x, *first) if v is not None]
    given = iter(own)
    arguments = [next(given), *(None if v is None else next(given) for v in first), *weights]
    options = {"relu": True} if kind == "rnn relu" else {}
    result = function(*arguments, **options, **zeros)
    read = [result[0], *result[2:3]]
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype) for y in read]
    gradients = torch.autograd.grad(read, [*own, *zeros.values()], cotangents, allow_unused=True)
    return result, gradients


def assert_same(kind, fused, steps=T, examples=N, dtype=torch.float64, layout=lambda x: x, only=None, **options):
    x, first, weights = operands(kind, steps, examples, dtype, **options)
    name = kind.split()[0] + "_layer"
    wanted = {k: v for k, v in taps(kind, steps, examples, dtype).items() if only is None or k in only}
    own = functions(fused)[name]
    found, gradients = run(own, kind, layout(x), first, weights, wanted)
    fresh = {k: v.detach().requires_grad_() for k, v in wanted.items()}
    expected, truth = run(getattr(layers, name), kind, x, first, weights, fresh)
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype is torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for a, b in zip([*found[:3], *gradients], [*expected[:3], *truth], strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    if kind == "lstm projected":
        torch.testing.assert_close(found[3], expected[3], **tolerance)
    assert not found[1].requires_grad


@pytest.mark.parametrize(("kind", "fused"), KINDS)
def test_values_and_gradients(kind, fused):
    assert_same(kind, fused)
    assert_same(kind, fused, bias=False, states=False)
    assert_same(kind, fused, steps=1)
    assert_same(kind, fused, examples=1, states=False)


@pytest.mark.parametrize(("kind", "fused"), KINDS)
def test_layouts(kind, fused):
    """Time second in memory, and strided features."""
    assert_same(kind, fused, layout=lambda x: x.transpose(0, 1).contiguous().transpose(0, 1))
    assert_same(kind, fused, layout=lambda x: torch.stack([x, x], -1)[..., 0])
    assert_same(kind, fused, dtype=torch.float32)


@pytest.mark.parametrize(("kind", "fused"), KINDS)
def test_one_of_several_pre_activations(kind, fused):
    for name in TAPS[kind]:
        assert_same(kind, fused, only=[name])


@pytest.mark.parametrize("kind", GATES)
def test_no_examples(kind):
    x, first, weights = operands(kind, T, 0, torch.float64)
    result, gradients = run(
        functions(False)[kind.split()[0] + "_layer"], kind, x, first, weights, taps(kind, T, 0, x.dtype)
    )
    assert result[0].shape == (T, 0, weights[1].shape[1])
    assert [g.shape[0] for g in gradients] == [T, *(0 for _ in first), *(T for _ in TAPS[kind])]


@pytest.mark.parametrize("kind", GATES)
def test_without_taps_the_weights_have_gradients_too(kind):
    """A layer that reads no example, such as an encoder of learned prompts, is run by torch."""
    x, first, weights = operands(kind, T, N, torch.float64)
    weights = [w.requires_grad_() for w in weights]
    options = {"relu": True} if kind == "rnn relu" else {}
    name = kind.split()[0] + "_layer"
    found = functions(False)[name](x, *first, *weights, **options)
    expected = getattr(layers, name)(x, *first, *weights, **options)
    assert found[1] is None
    scale = torch.randn(expected[0].shape, dtype=torch.float64)
    ours, truth = (torch.autograd.grad((y[0] * scale).sum(), weights) for y in (found, expected))
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_zeros_take_no_memory_and_the_cotangent_is_computed_once():
    """The second backward of one forward is an error: the first has overwritten the gates."""
    x, first, weights = operands("lstm", T, N, torch.float64)
    z = taps("lstm", T, N, x.dtype)["z"]
    assert z.untyped_storage().nbytes() == 8
    y = functions(False)["lstm_layer"](x, *first, *weights, z=z)[0]
    torch.autograd.grad(y.sum(), z, retain_graph=True)
    with pytest.raises(AttributeError, match="kept"):
        torch.autograd.grad(y.sum(), z)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_a_clipped_step_costs_at_most_three_ordinary_ones(kind):
    """28 steps of 28 features, 128 hidden, 128 examples, one thread; by the lower quartiles."""
    model = RowByRow(kind)
    x, target = torch.randn(128, 1, 28, 28), torch.randint(0, 10, (128,))
    loss_fn = torch.nn.CrossEntropyLoss(reduction="none")
    step = cc.compile(model, loss_fn, max_grad_norm=1.0)

    def clipped():
        model.zero_grad()
        step(x, target)

    def ordinary():
        model.zero_grad()
        loss_fn(model(x), target).mean().backward()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = interleave({"clipped": clipped, "ordinary": ordinary}, repeats=40)
    finally:
        torch.set_num_threads(threads)
    assert times["clipped"].lower <= 3 * times["ordinary"].lower
