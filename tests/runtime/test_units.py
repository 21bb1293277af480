"""Privacy units of several examples, against a loop over units in float64."""

import pytest
import torch
from comparison import PROMISED
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.verify import oracle, relative, relative_sums

M = 8
WORDS, WIDTH, LENGTH = 13, 8, 6


class CNN(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, stride=2), nn.Linear(54, 10)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))).flatten(1))


class Transformer(nn.Module):
    """One block over words as one-hot rows; the head is the transpose of the input's weight."""

    def __init__(self):
        super().__init__()
        self.words = nn.Linear(WORDS, WIDTH, bias=False)
        self.places = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        h = self.words(F.one_hot(ids, WORDS).to(self.places)) + self.places
        weights = torch.softmax(self.query(h) @ self.key(h).mT / WIDTH**0.5, -1)
        return F.linear(self.norm(h + weights @ self.value(h)), self.words.weight.T)


def images(size):
    """Images and classes."""
    return torch.randn(size, 1, 10, 10, dtype=torch.float64), torch.randint(0, 10, (size,))


def sentences(size):
    """Words and the next words."""
    return torch.randint(0, WORDS, (size, LENGTH)), torch.randint(0, WORDS, (size, LENGTH))


def one_each(output, target):
    """Cross-entropy of each example; over several words their mean."""
    if target.dim() == 1:
        return F.cross_entropy(output, target, reduction="none")
    return F.cross_entropy(output.mT, target, reduction="none").mean(1)


def centred_kernel(rows):
    """H K H of the rows of each unit, K Gaussian: [units, M, M]."""
    distances = (rows[:, :, None] - rows[:, None]).square().sum(-1)
    kernel = torch.exp(-distances / rows.shape[-1])
    return kernel - kernel.mean(1, keepdim=True) - kernel.mean(2, keepdim=True) + kernel.mean((1, 2), keepdim=True)


def hsic(output, target):
    """tr(H K_z H K_y)/(M−1)² within each unit of M examples: it has no value for one example."""
    classes = target if target.dim() == 1 else target[:, 0]
    rows = output.flatten(1).view(-1, M, output[0].numel())
    labels = F.one_hot(classes, 13).to(output).view(-1, M, 13)
    return (centred_kernel(rows) * (labels @ labels.mT)).sum((1, 2)) / (M - 1) ** 2


def averaged(output, target):
    """The mean over everything, as one number."""
    return F.cross_entropy(output if target.dim() == 1 else output.mT, target)


MODELS = {"cnn": (CNN, images), "transformer with a tied head": (Transformer, sentences)}


def assert_like_the_loop(step, loss_fn, batch, dtype=torch.float64, **units):
    """Norms and sums, half of the units clipped."""
    truth = oracle(step.model, loss_fn, batch, **units)
    step.max_grad_norm = float(truth.norms.median())
    truth = oracle(step.model, loss_fn, batch, max_grad_norm=step.max_grad_norm, **units)
    given = {"unit_ids": units["unit_ids"]} if "unit_ids" in units else {}
    result, sums = step.gradients(*batch, **given)
    assert relative(result.norms, truth.norms) <= PROMISED[dtype]
    assert relative(result.clip_factors, truth.clip_factors) <= PROMISED[dtype]
    assert relative_sums(sums, truth.gradients) <= PROMISED[dtype]
    return result


@pytest.mark.parametrize("loss_fn", [hsic, one_each, averaged])
@pytest.mark.parametrize("name", MODELS)
def test_units_of_consecutive_examples(name, loss_fn):
    """A loss that couples the examples of a unit, one for each example, and one number."""
    make, draw = MODELS[name]
    step = cc.compile(make().double(), loss_fn, examples_per_unit=M)
    for units in (1, 2, 5):
        result = assert_like_the_loop(step, loss_fn, draw(units * M), examples_per_unit=M)
        assert result.norms.shape == (units,)
    assert step.compilations == 1
    assert step.verify(*draw(3 * M)) <= 1e-10


@pytest.mark.parametrize("loss_fn", [one_each, averaged])
@pytest.mark.parametrize("name", MODELS)
def test_units_known_at_call_time(name, loss_fn):
    """Unequal sizes, in any order, one unit and only units of one among them."""
    make, draw = MODELS[name]
    step = cc.compile(make().double(), loss_fn)
    for ids in (torch.randint(0, 5, (17,)) * 3 - 4, torch.zeros(4).long(), torch.tensor([5]), torch.arange(6).flip(0)):
        result = assert_like_the_loop(step, loss_fn, draw(len(ids)), unit_ids=ids)
        assert result.units.tolist() == sorted(set(ids.tolist()))
        assert result.losses.shape == ids.shape
    assert step.compilations == 1
    assert step.verify(*draw(6), unit_ids=torch.tensor([1, 0, 1, 1, 2, 0])) <= 1e-10


@pytest.mark.parametrize("strategy", ["auto", "bookkeeping", "reweight"])
@pytest.mark.parametrize("chunk_size", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_units_known_at_call_time_stay_whole_in_chunks(name, chunk_size, strategy):
    """A chunk ends between two units; one unit of more examples is by itself; losses are in the order of the batch."""
    make, draw = MODELS[name]
    step = cc.compile(make().double(), one_each, chunk_size=chunk_size, strategy=strategy)
    for ids in (torch.tensor([7, 2, 2, 9, 2, 7, 2, 4, 2]), torch.zeros(6).long(), torch.arange(5).flip(0)):
        batch = draw(len(ids))
        result = assert_like_the_loop(step, one_each, batch, unit_ids=ids)
        assert result.units.tolist() == sorted(set(ids.tolist()))
        torch.testing.assert_close(result.losses, one_each(step.model(batch[0]), batch[1]), rtol=1e-9, atol=1e-12)
    assert f"CHUNK = {chunk_size}  # examples at a time: as given by chunk_size" in step.source


def test_units_in_single_precision():
    """The same promise as for examples."""
    ids = torch.randint(0, 4, (16,))
    batch = images(16)[0].float(), images(16)[1]
    step = cc.compile(CNN(), one_each)
    assert_like_the_loop(step, one_each, batch, torch.float32, unit_ids=ids)
    step = cc.compile(CNN(), hsic, examples_per_unit=M)
    assert_like_the_loop(step, hsic, batch, torch.float32, examples_per_unit=M)


class TimeMajor(nn.Module):
    """Convolutions and linear layers over [T, N, D] and [T·N, D]."""

    def __init__(self):
        super().__init__()
        self.inner, self.conv, self.scale = nn.Linear(5, 8), nn.Conv1d(8, 4, 3), nn.Parameter(torch.ones(8))

    def forward(self, x):
        h = self.inner(x.transpose(0, 1).reshape(-1, 5)).tanh() * self.scale
        return self.conv(h.view(6, -1, 8).permute(1, 2, 0)).flatten(1)


def squares(output, target):
    """Mean square, one an example."""
    return (output - target[:, None]).square().mean(1)


@pytest.mark.parametrize("clipping", [None, cc.PerLayer(), cc.Automatic(0.1)])
def test_time_major_layouts(clipping):
    """Members lie between positions of one dim."""
    batch = torch.randn(12, 6, 5, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    step = cc.compile(TimeMajor().double(), squares, max_grad_norm=0.5, clipping=clipping)
    assert step.verify(*batch, unit_ids=torch.tensor([3, 1, 1, 3, 2, 3, 3, 0, 1, 1, 2, 3])) <= 1e-10
    step = cc.compile(TimeMajor().double(), squares, max_grad_norm=0.5, clipping=clipping, examples_per_unit=4)
    assert step.verify(*batch) <= 1e-10


class Behind(nn.Module):
    """A weight behind a function, and one used twice."""

    def __init__(self):
        super().__init__()
        self.raw, self.twice = nn.Parameter(torch.randn(5, 5)), nn.Linear(5, 5)

    def forward(self, x):
        return self.twice(F.linear(self.twice(x), self.raw.exp() @ self.raw))


def test_functions_and_shared_uses():
    """Their gradients are instantiated for units, not for examples."""
    batch = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    step = cc.compile(Behind().double(), squares, max_grad_norm=0.5)
    assert step.verify(*batch, unit_ids=torch.tensor([0, 1, 0, 2, 2, 2, 0, 1, 1])) <= 1e-10
    step = cc.compile(Behind().double(), squares, max_grad_norm=0.5, examples_per_unit=3)
    assert step.verify(*batch) <= 1e-10


MIXING_UNITS = {
    "a mean over the batch": lambda o, t: squares(o - o.mean(0), t),
    "a softmax over units": lambda o, t: squares(torch.softmax(o.view(-1, 4, 5), 0).view(-1, 5), t),
    "other windows": lambda o, t: squares((o.view(-1, 2, 5) - o.view(-1, 2, 5).flip(0)).view(-1, 5), t),
    "the first unit": lambda o, t: squares((o.view(-1, 4, 5) + o.view(-1, 4, 5)[:1]).view(-1, 5), t),
    "every fourth example": lambda o, t: squares(o.view(4, -1, 5).cumsum(0).reshape(-1, 5), t),
}


@pytest.mark.parametrize("name", MIXING_UNITS)
def test_mixing_between_units_is_refused(name):
    batch = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    with pytest.raises(cc.ExamplesMixed):
        cc.compile(nn.Linear(5, 5).double(), MIXING_UNITS[name], examples_per_unit=4).gradients(*batch)


def by_fours(rows):
    """[N, D] → [units, 4, D]"""
    return rows.view(-1, 4, rows.shape[1])


MIXING_WITHIN = {
    "a mean over the unit": lambda o, t: squares((by_fours(o) - by_fours(o).mean(1, keepdim=True)).view(-1, 5), t),
    "a softmax over the unit": lambda o, t: (torch.softmax(squares(o, t).view(-1, 4), 1) * t.view(-1, 4)).sum(1),
    "flipped": lambda o, t: squares((by_fours(o) + by_fours(o).flip(1)).view(-1, 5), t),
    "similarities": lambda o, t: (by_fours(o) @ by_fours(o).mT).exp().sum((1, 2)),
    "two windows": lambda o, t: squares(o.view(-1, 2, 5).cumsum(1).view(-1, 5), t),
}


@pytest.mark.parametrize("name", MIXING_WITHIN)
def test_mixing_within_a_unit_is_exact(name):
    batch = torch.randn(12, 5, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    step = cc.compile(nn.Linear(5, 5).double(), MIXING_WITHIN[name], max_grad_norm=2.0, examples_per_unit=4)
    assert step.verify(*batch) <= 1e-10


def test_mixing_examples_is_refused_with_unit_ids():
    """There examples stay apart."""
    batch = torch.randn(8, 5).double(), torch.randn(8).double()
    centred = lambda o, t: squares(o - o.mean(0), t)  # noqa: E731
    with pytest.raises(cc.ExamplesMixed):
        cc.compile(nn.Linear(5, 5).double(), centred).gradients(*batch, unit_ids=torch.zeros(8).long())


def test_a_batch_of_no_whole_units_is_refused():
    step = cc.compile(nn.Linear(5, 5), squares, examples_per_unit=4)
    with pytest.raises(cc.InvalidBatch, match="10 examples, which are no whole number of units of 4"):
        step(torch.randn(10, 5), torch.randn(10))


@pytest.mark.parametrize("ids", [torch.zeros(3).long(), torch.zeros(4), [0, 0, 1, 1], torch.zeros(4, 1).long()])
def test_wrong_unit_ids_are_refused(ids):
    with pytest.raises(cc.InvalidBatch, match="unit_ids is"):
        cc.compile(nn.Linear(5, 5), squares)(torch.randn(4, 5), torch.randn(4), unit_ids=ids)


def test_both_kinds_of_units_are_refused():
    step = cc.compile(nn.Linear(5, 5), squares, examples_per_unit=2)
    with pytest.raises(cc.InvalidBatch, match="examples_per_unit=2"):
        step(torch.randn(4, 5), torch.randn(4), unit_ids=torch.zeros(4).long())


@pytest.mark.parametrize("m", [0, -1, 2.0, True])
def test_a_wrong_size_of_units_is_refused(m):
    with pytest.raises(ValueError, match="examples_per_unit is"):
        cc.compile(nn.Linear(5, 5), squares, examples_per_unit=m)


def test_no_examples():
    """Empty results, zero gradients."""
    empty = torch.randn(0, 5), torch.randn(0)
    for step, given in (
        (cc.compile(nn.Linear(5, 5), squares, examples_per_unit=4), {}),
        (cc.compile(nn.Linear(5, 5), squares), {"unit_ids": torch.zeros(0).long()}),
    ):
        result, sums = step.gradients(*empty, **given)
        assert result.norms.shape == (0,)
        assert not any(g.any() for g in sums.values())


def test_programs_with_and_without_units_live_side_by_side():
    """Two compilations; without ids every example is a unit."""
    batch = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    step = cc.compile(nn.Linear(5, 5).double(), squares)
    alone, _ = step.gradients(*batch)
    numbered, _ = step.gradients(*batch, unit_ids=torch.arange(6))
    step.gradients(*batch)
    assert step.compilations == 2
    torch.testing.assert_close(alone.norms, numbered.norms, rtol=1e-12, atol=0)


def test_a_saved_program_takes_units(tmp_path):
    """It runs without clipcompiler, bit-equal."""
    batch = torch.randn(6, 5), torch.randn(6)
    ids = torch.tensor([1, 1, 0, 2, 0, 1])
    step = cc.compile(nn.Linear(5, 5), squares)
    result = step(*batch, unit_ids=ids)
    scope = {}
    exec(step.save(tmp_path / "clipped.py").read_text(), scope)
    model = nn.Linear(5, 5)
    model.load_state_dict(step.model.state_dict())
    _, norms, factors = scope["ClippedStep"](model)(*batch, ids)
    assert torch.equal(norms, result.norms)
    assert torch.equal(factors, result.clip_factors)
    assert torch.equal(model.weight.grad, step.model.weight.grad)
