"""Peaks without data: those that can be counted by hand, and those of the same function run."""

import pytest
import torch
from torch import nn

import clipcompiler as cc
from clipcompiler.memory.chunks import Subject, peak_of_ordinary, peak_of_step
from clipcompiler.memory.liveness import Liveness, peak_of

FLOAT = 4


def two_steps(given, x):
    """b = x + w (let go when c is made), c = 2b, d = c² (with c)."""
    b = x + given["w"]
    c = 2 * b
    del b
    return c.square()


def test_a_peak_is_counted_by_hand():
    """Two tensors of the size of x are alive at once, of three that are made; views are none."""
    x, w = torch.randn(6, 100), torch.randn(100)
    for size in (1, 6, 50):
        assert peak_of(two_steps, {"given": {"w": w}}, (x,), size, {}) == 2 * size * 100 * FLOAT
    assert peak_of(lambda given, x: x.view(-1)[3:].reshape(-1, 1), {"given": {}}, (x,), 6, {}) == 0


def test_a_graph_keeps_what_its_backward_reads():
    """sigmoid keeps its output; x · w keeps both factors, which are given."""

    def kept(given, x):
        y = (x * given["w"].requires_grad_()).sigmoid()
        return y.sum().backward()

    x, w = torch.randn(6, 100), torch.randn(6, 100)
    one = 600 * FLOAT
    peak = peak_of(kept, {"given": {"w": w}}, (x,), 6, {})
    assert 2 * one <= peak <= 3.1 * one


class Deep(nn.Module):
    """A convolution, a norm and two layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.fc1, self.fc2 = nn.Linear(8 * 64, 32), nn.Linear(32, 4)

    def forward(self, x):
        h = self.norm(self.conv(x)).relu().flatten(1)
        return self.fc2(self.fc1(h).tanh())


LOSS = nn.CrossEntropyLoss(reduction="none")


def batch_of(size):
    return torch.randn(size, 3, 8, 8), torch.randint(0, 4, (size,))


@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("strategy", ["auto", "bookkeeping", "reweight"])
def test_the_peak_of_a_program_is_that_of_running_it(strategy, chunk):
    """The same storages live and die with data and without."""
    model, batch = Deep(), batch_of(12)
    step = cc.compile(model, LOSS, strategy=strategy, chunk_size=chunk).prepare(*batch)
    found = step.latest
    predicted = peak_of_step(found.plan, found.program, Subject(model, LOSS, batch, {}), 1)(12, chunk or 12)
    with Liveness([*model.parameters(), *batch]) as live:
        step.gradients(*batch)
    assert predicted == pytest.approx(live.peak, rel=0.02)


def test_memory_grows_with_the_examples_at_a_time_and_not_with_the_batch():
    """A line in N for whole batches, and no growth in chunks of one."""
    model, batch = Deep(), batch_of(8)
    step = cc.compile(model, LOSS).prepare(*batch)
    peak = peak_of_step(step.plan, step.latest.program, Subject(model, LOSS, batch, {}), 1)
    whole = {n: peak(n, n) for n in (512, 1024, 2048, 4096)}
    slopes = [(whole[2 * n] - whole[n]) / n for n in (512, 1024, 2048)]
    assert max(slopes) == pytest.approx(min(slopes), rel=0.1)
    single = [peak(n, 1) for n in (16, 64)]
    assert single[1] - single[0] < 20 * 48  # the losses, norms and factors of the other examples
    ordinary = peak_of_ordinary(Subject(model, LOSS, batch, {}), 1)
    assert 1.8 < ordinary(512) / ordinary(256) < 2.1
