"""memory=: bytes are kept, the two words are held against an ordinary step, what cannot be kept is an error."""

import threading

import pytest
import torch
from comparison import assert_exact, median_norm
from test_liveness import LOSS, Deep, batch_of

import clipcompiler as cc
from clipcompiler.memory.budget import parsed, rounded, within
from clipcompiler.memory.chunks import Subject, peak_of_ordinary
from clipcompiler.memory.fit import fit
from clipcompiler.memory.liveness import Liveness


def held(step, batch):
    """The bytes that a step holds at its peak, beside the model and the batch."""
    step.prepare(*batch)
    with Liveness([*step.model.parameters(), *batch]) as live:
        step.gradients(*batch)
    return live.peak


@pytest.mark.parametrize("share", [1.0, 0.7, 0.5, 0.35, 0.25])
def test_a_budget_in_bytes_is_kept(share):
    """Five budgets, as shares of what the whole batch at once holds: kept, exact, and not by far too careful."""
    torch.manual_seed(0)
    model, batch = Deep().double(), tuple(t.double() if t.is_floating_point() else t for t in batch_of(64))
    whole = held(cc.compile(model, LOSS, chunk_size=64), batch)
    budget = int(1.06 * share * whole)
    step = cc.compile(model, LOSS, memory=budget, max_grad_norm=median_norm(model, LOSS, batch))
    assert 0.5 * budget < held(step, batch) <= budget
    assert_exact(step, batch)
    assert_exact(step, tuple(t[:5] for t in batch))


def test_chunks_are_of_one_size():
    """Of 32 examples 15 fit: they are run by 11, not as 15, 15 and 2."""
    memory = fit(1900, lambda _, chunk: 100 * chunk, lambda size: 100 * size, 32, None)
    assert memory.chunk == 11 and memory.peak < 1900


def test_a_budget_that_cannot_be_kept_says_the_least_that_can():
    """With what the error says it can."""
    model, batch = Deep(), batch_of(64)
    with pytest.raises(cc.MemoryBudgetTooSmall, match="with one example at a time it needs") as refusal:
        cc.compile(model, LOSS, memory=10_000, example_inputs=batch)
    step = cc.compile(model, LOSS, memory=refusal.value.least)
    assert held(step, batch) <= refusal.value.least
    assert step.latest.program.chunk == 1


def test_lean_holds_no_more_than_an_ordinary_step():
    """As both are predicted; and the step says so above its program."""
    model, batch = Deep(), batch_of(64)
    ordinary = peak_of_ordinary(Subject(model, LOSS, batch, {}), 1)(64)
    step = cc.compile(model, LOSS, memory="lean")
    assert held(step, batch) <= ordinary
    assert "an ordinary step of 64" in step.source


@pytest.mark.parametrize("first", [0, 1, 4, 64])
def test_a_budget_is_kept_for_every_batch_whatever_the_first_one_was(first):
    """One compilation; the examples at a time follow the batch, and the program that is shown is the one that runs."""
    torch.manual_seed(0)
    model, batch = Deep(), batch_of(64)
    budget = int(0.4 * held(cc.compile(model, LOSS, chunk_size=64), batch))
    step = cc.compile(model, LOSS, memory=budget).prepare(*batch_of(first))
    assert held(step, batch) <= budget
    assert "CHUNK = None" not in step.source
    assert held(step, batch_of(3)) <= budget
    assert "CHUNK = None" in step.source
    assert step.compilations == 1


@pytest.mark.parametrize("sizes", [(1, 64, 8), (64, 8, 1)])
def test_lean_is_lean_for_every_batch(sizes):
    """What an ordinary step of the same batch holds, of whatever batch it was compiled for."""
    model, step = Deep(), None
    for size in sizes:
        batch = batch_of(size)
        step = step or cc.compile(model, LOSS, memory="lean")
        assert held(step, batch) <= peak_of_ordinary(Subject(model, LOSS, batch, {}), 1)(size)
    assert step.compilations == 1


@pytest.mark.parametrize("up", [False, True])
def test_sizes_are_rounded_to_four_binary_digits(up):
    """By less than an eighth; those that are round stay as they are."""
    for size in range(2000):
        found = rounded(size, up=up)
        assert rounded(found, up=up) == found
        assert (size <= found < 9 / 8 * size + 1) if up else (7 / 8 * size - 1 < found <= size)
    assert len({rounded(size, up=up) for size in range(64, 128)}) <= 9


class Remembers(torch.nn.Module):
    """Keeps a bias that it has computed, as LeViT does, and cannot be copied where ``lock`` is given."""

    def __init__(self, lock=None):
        super().__init__()
        self.fc, self.bias, self.lock, self.known = torch.nn.Linear(5, 3), torch.nn.Parameter(torch.randn(3)), lock, {}

    def forward(self, x):
        if self.training:
            return self.fc(x) + 2 * self.bias
        if x.device not in self.known:
            self.known[x.device] = 2 * self.bias.detach()
        return self.fc(x) + self.known[x.device]


@pytest.mark.parametrize("lock", [None, threading.Lock()], ids=["copied", "not copied"])
def test_a_prediction_leaves_nothing_in_the_model(lock):
    """No tensor without data is kept: the model runs after it, and computes what it did."""
    model, batch = Remembers(lock).double(), (torch.randn(4, 5).double(), torch.randint(0, 3, (4,)))
    model.eval()
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    peak_of_ordinary(Subject(model, loss, batch, {}), 1)(4)
    model.known = {key: value for key, value in model.known.items() if type(value) is not torch.Tensor}
    assert not model.known
    torch.testing.assert_close(model(batch[0]), model.train()(batch[0]))


def test_fast_looks_at_memory_only_where_there_is_much_of_it():
    """A small model runs all examples at once; a large one stays within 1.25 times an ordinary step."""
    model, batch = Deep(), batch_of(64)
    assert cc.compile(model, LOSS).prepare(*batch).latest.program.chunk is None
    large = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(1))
    loss = lambda y, t: y.square().mean(1) + t  # noqa: E731
    step = cc.compile(large, loss)
    batch = torch.randn(64, 3, 64, 64), torch.zeros(64)
    ordinary = peak_of_ordinary(Subject(large, loss, batch, {}), 1)(64)
    assert held(step, batch) <= 1.25 * ordinary


@pytest.mark.parametrize("memory", ["small", 0, -1, 1.5, True, None])
def test_a_budget_is_a_word_or_a_number_of_bytes(memory):
    with pytest.raises(ValueError, match="give 'fast', 'lean', or a number of bytes"):
        cc.compile(Deep(), LOSS, memory=memory)
    assert parsed("lean") == "lean"


@pytest.mark.parametrize("size", [0, -3, 1.5, "all"])
def test_a_chunk_has_a_whole_number_of_examples(size):
    with pytest.raises(ValueError, match=r"chunk_size is .*: give a whole number of examples"):
        cc.compile(Deep(), LOSS, chunk_size=size, example_inputs=batch_of(2))


def test_the_most_examples_within_a_budget_are_found():
    """Of a peak that grows by 7 an example from 100: within an eighth of the most, and never above."""
    asked = []

    def peak(chunk):
        asked.append(chunk)
        return 100 + 7 * chunk

    for budget in (107, 200, 500, 3000):
        most = (budget - 100) // 7
        assert 0.85 * most - 1 <= within(budget, peak, 400) <= most
    assert within(10_000, peak, 400) == 400
    assert len(asked) < 40
    with pytest.raises(cc.MemoryBudgetTooSmall):
        within(106, peak, 400)


def test_bytes_cannot_be_kept_for_units_given_at_call_time():
    """What cannot be kept is not passed over in silence; the words are wishes."""
    batch, ids = batch_of(6), torch.tensor([0, 1, 0, 2, 1, 0])
    with pytest.raises(ValueError, match="give no memory in bytes with unit_ids"):
        cc.compile(Deep(), LOSS, memory=10**9)(*batch, unit_ids=ids)
    cc.compile(Deep(), LOSS, memory="lean")(*batch, unit_ids=ids)
