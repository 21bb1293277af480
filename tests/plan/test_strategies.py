"""Orders from pixels and of shared Grams, sums by book-keeping and by a second pass."""

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.plan import Order, candidates, choose
from clipcompiler.trace import N
from paper_models import build

LOSS = nn.CrossEntropyLoss(reduction="none")
CONVOLUTIONS = {
    "plain": (lambda: nn.Conv2d(3, 4, 3), (3, 8, 8)),
    "strided, padded": (lambda: nn.Conv2d(3, 4, 3, padding=1, stride=2), (3, 8, 9)),
    "groups, dilated, uneven": (
        lambda: nn.Conv2d(4, 6, (3, 2), padding=(2, 1), dilation=(2, 1), groups=2),
        (4, 9, 7),
    ),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), (4, 6, 6)),
    "1×1, strided": (lambda: nn.Conv2d(3, 4, 1, stride=2), (3, 5, 5)),
    "same": (lambda: nn.Conv2d(3, 5, 3, padding="same"), (3, 4, 4)),
    "one dim": (lambda: nn.Conv1d(3, 4, 3, padding=1), (3, 8)),
    "three dims": (lambda: nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), (2, 4, 5, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 4, 5)),
}  # fmt: skip


def from_pixels(way):
    """Whether a way takes a Gram from pixels."""
    squares = [(t.square, tree) for t, tree in zip(way.terms, way.trees, strict=True)]
    return way.order is Order.GRAM and any(s.from_pixels for square, tree in squares for s in square.steps(tree))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_gram_from_pixels_is_exact(name, monkeypatch):
    """K[u,u'] = Σ_k P[u+k, u'+k], for every kind of convolution, forced where another order would be cheaper."""
    real = choose.candidates
    seen = []

    def forced(source, name, terms):
        ways = real(source, name, terms)
        pixels = [way for way in ways if from_pixels(way)]
        seen.extend(pixels)
        return pixels or ways

    monkeypatch.setattr(choose, "candidates", forced)
    make, shape = CONVOLUTIONS[name]
    model = nn.Sequential(make(), nn.Tanh(), nn.Flatten()).double()
    loss = lambda y, t: (y * t[:, None]).sum(1)  # noqa: E731
    batch = torch.randn(5, *shape).double(), torch.randn(5).double()
    step = cc.compile(model, loss, max_grad_norm=median_norm(model, loss, batch))
    assert_exact(step, batch)
    assert len(seen) == 1
    assert "gram_from_pixels(" in step.source
    assert "unfold" not in step.source


class Positions(nn.Module):
    """One linear layer over any positions, its losses weighted sums."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(x).tanh().flatten(1)


@pytest.mark.parametrize("shape", [(9, 6), (8, 6), (3, 4, 6)])
def test_a_gram_in_tiles_is_exact(shape, monkeypatch):
    """Whole tiles, a rest, several positions: with the bias folded in, forced where another order would be cheaper."""
    real = choose.candidates
    monkeypatch.setattr(candidates, "TILE", 4)
    monkeypatch.setattr(
        choose, "candidates", lambda *a: [w for w in real(*a) if w.trees and w.trees[0].tile] or real(*a)
    )
    loss = lambda y, t: (y * t[:, None]).sum(1)  # noqa: E731
    batch = torch.randn(5, *shape).double(), torch.randn(5).double()
    model = Positions().double()
    step = cc.compile(model, loss, max_grad_norm=median_norm(model, loss, batch))
    assert_exact(step, batch)
    assert "gram_in_tiles(" in step.source
    assert step.plan["fc.bias"].order is Order.FOLDED
    assert "in tiles of 4" in step.plan["fc.weight"].why


def test_tiles_compute_half_of_long_grams_and_write_none():
    """1,024 features over 512 positions: (T + 1) / 2T of the flops with T = 2 tiles a side."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1024, 1024)

        def forward(self, x):
            return self.fc(x).logsumexp(2).mean(1)

    step = cc.compile(Head(), strategy="bookkeeping", example_inputs=(torch.zeros(1, 512, 1024),))
    choice = step.plan["fc.weight"]
    assert choice.trees[0].tile == 256
    assert float(choice.norm.flops.subs(N, 1)) == pytest.approx(0.75 * 2 * 512**2 * (2 * 1024 + 1), rel=1e-3)


def test_deep_layers_of_a_convolutional_network_take_their_grams_from_pixels():
    """512 channels at 2 × 2: forming gradients of 2.4 M elements would cost a hundred times as much."""
    batch = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)
    step = cc.compile(build("vgg11", channels=3, image_size=32), LOSS).prepare(*batch)
    assert from_pixels(step.plan["features.conv8.weight"])
    assert "from P pixels <" in step.plan["features.conv8.weight"].why


def test_one_gram_serves_all_weights_of_a_recurrent_layer():
    """What would be dearer alone is cheaper together, and the reason says so."""
    batch = torch.randn(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
    step = cc.compile(build("lstm"), LOSS).prepare(*batch)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        choice = step.plan[f"recurrent.{name}"]
        assert choice.order is Order.GRAM
        assert choice.why == "one Gram of z̄ serves recurrent.weight_ih_l0 and recurrent.weight_hh_l0"
    norms = step.source[step.source.index("── squared norms") : step.source.index("── clip factors")]
    assert norms.count("cotangent_gram = ") == 2  # of the layer, and of fc, where it is a square


def test_bookkeeping_keeps_no_gradient_where_there_is_another_way():
    batch = torch.randn(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
    kept = [c.name for c in cc.compile(build("cnn"), LOSS).prepare(*batch).plan.choices if c.keeps]
    step = cc.compile(build("cnn"), LOSS, strategy="bookkeeping").prepare(*batch)
    assert kept
    assert not any(choice.keeps for choice in step.plan.choices)


def test_reweight_sums_by_a_second_backward_pass():
    """ReweightGP: the plan says what it costs, and the program has two backward passes."""
    batch = torch.randn(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
    step = cc.compile(build("cnn"), LOSS, strategy="reweight").prepare(*batch)
    assert step.source.count("torch.autograd.grad(") == 2
    assert "by a second backward pass" in str(step.plan)
    assert "(losses * clip_factors).sum()" in step.source


class Narrow(nn.Module):
    """Its hidden values are rounded to float32, between layers in float64."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(784, 5), nn.Linear(5, 10)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.flatten(1)).float()).double())


MODELS_OF_DTYPES = {"half": lambda: build("mlp").bfloat16(), "narrow": lambda: Narrow().double()}
REFUSED = {
    "another word": ({"strategy": "ghost"}, "mlp", "give one of 'auto', 'bookkeeping', 'reweight'"),
    "groups": ({"strategy": "reweight", "clipping": cc.PerLayer()}, "mlp", "with several groups use"),
    "a recurrent layer": ({"strategy": "reweight"}, "lstm", "which that of a recurrent layer does not allow"),
    "a narrower dtype within": ({"strategy": "reweight"}, "narrow", "where the model computes in a narrower dtype"),
    "half precision": ({"strategy": "reweight"}, "half", "rounds the clipped sums to the parameters' own dtype"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_strategy_cannot_do_is_refused(name):
    options, kind, message = REFUSED[name]
    model = MODELS_OF_DTYPES[kind]() if kind in MODELS_OF_DTYPES else build(kind)
    dtype = next(model.parameters()).dtype
    batch = torch.randn(2, 1, 28, 28, dtype=dtype), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        cc.compile(model, LOSS, example_inputs=batch, **options)


def test_reweight_goes_through_parametrisations_chunk_after_chunk():
    """The graph of the functions of parameters is kept from one chunk to the next."""
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3)).double()
    batch = torch.randn(7, 5).double(), torch.randint(0, 3, (7,))
    bound = median_norm(model, LOSS, batch)
    for options in ({"chunk_size": 2}, {"chunk_size": 3, "strategy": "reweight"}):
        assert_exact(cc.compile(model, LOSS, max_grad_norm=bound, **options), batch)


class AddedTwice(nn.Module):
    """Two parameters of one row are added to the same value."""

    def __init__(self):
        super().__init__()
        self.fc, self.a, self.b = nn.Linear(4, 4), nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(1, 4))

    def forward(self, x):
        return self.fc(x) + self.a + self.b


@pytest.mark.parametrize("strategy", ["auto", "bookkeeping", "reweight"])
@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_parameters_of_one_gradient_have_sums_of_their_own(strategy, chunk_size):
    """With one example at a time autograd gives both the same tensor; nothing is added to both through one of them."""
    model, batch = AddedTwice().double(), (torch.randn(5, 4).double(), torch.randint(0, 4, (5,)))
    bound = median_norm(model, LOSS, batch)
    step = cc.compile(model, LOSS, max_grad_norm=bound, strategy=strategy, chunk_size=chunk_size)
    assert_exact(step, batch)
    assert_exact(step, tuple(t[:1] for t in batch))
    _, sums = step.gradients(*(t[:1] for t in batch))
    assert len({s.untyped_storage().data_ptr() for s in sums.values()}) == len(sums)


class UsedTurned(nn.Module):
    """A parameter used as it is and transposed, by an op that no example changes."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return F.linear(torch.tanh(F.linear(x, self.w)), self.w.t())


@pytest.mark.parametrize("strategy", ["auto", "bookkeeping", "reweight"])
@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_a_value_of_parameters_alone_is_differentiated(strategy, chunk_size):
    """What no example changes is computed once, but not without its graph where a second backward pass needs it."""
    model, batch = UsedTurned().double(), (torch.randn(5, 4).double(), torch.randint(0, 4, (5,)))
    bound = median_norm(model, LOSS, batch)
    assert_exact(cc.compile(model, LOSS, max_grad_norm=bound, strategy=strategy, chunk_size=chunk_size), batch)


class TransposedKernel(nn.Module):
    """A grouped transposed convolution whose kernel, 2 by 1, is a transposed parameter."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 1, 1, 2))

    def forward(self, x):
        return F.conv_transpose2d(x, self.w.transpose(-1, -2), None, (2, 1), 0, 0, 2, (2, 2)).flatten(1)


@pytest.mark.parametrize("strategy", ["auto", "bookkeeping"])
@pytest.mark.parametrize("chunk_size", [None, 1])
def test_a_kernel_with_a_dim_of_one_behind_a_function_is_summed(strategy, chunk_size):
    """The sum of its weight gradient has one dim for the groups and their channels, letters two."""
    model, batch = TransposedKernel().double(), (torch.randn(3, 4, 3, 3).double(), torch.randint(0, 4, (3,)))
    bound = median_norm(model, LOSS, batch)
    assert_exact(cc.compile(model, LOSS, max_grad_norm=bound, strategy=strategy, chunk_size=chunk_size), batch)
