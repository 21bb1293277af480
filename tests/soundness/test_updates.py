"""Buffers that a forward updates from parameters and buffers alone: a step writes them as the forward would."""

import copy

import pytest
import torch
from patterns import Pattern, batch_of, check, losses, parameter
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc


def count(m, x):
    """A number of calls, by which the output is divided."""
    m.n.add_(1)
    return F.linear(x, m.w) / m.n


def average(m, x):
    """A running mean of a row of the weight."""
    with torch.no_grad():
        m.b.mul_(0.5).add_(m.w[0])
    return F.linear(x, m.w) * m.b.sum()


def part(m, x):
    """A view of a buffer."""
    with torch.no_grad():
        m.b[:2].copy_(m.w[0, :2])
    return F.linear(x, m.w) * m.b.sum()


def old_and_new(m, x):
    """Read before and after."""
    old = m.b * 2
    with torch.no_grad():
        m.b.add_(m.w[0])
    return F.linear(x, m.w) * (old * m.b).sum()


def view_before(m, x):
    """A view taken before the update shows it."""
    view = m.b[:3]
    with torch.no_grad():
        m.b.mul_(2)
    return F.linear(x, m.w) * view.sum()


def swapped(m, x):
    """Two buffers exchanged."""
    with torch.no_grad():
        kept = m.b.clone()
        m.b.copy_(m.c)
        m.c.copy_(kept)
    return F.linear(x, m.w) * m.b[0] + m.c[1]


def repeated(m, x):
    """Two regions that write to one buffer."""
    for _ in range(2):
        with torch.no_grad():
            m.b.copy_(F.normalize(m.w[0] + m.b, dim=0))
        x = x * m.b.sum()
    return F.linear(x, m.w)


def nested(m, x):
    """A region with gradients within one without."""
    with torch.no_grad():
        m.b.add_(1)
        with torch.enable_grad():
            weight = m.w * m.b
    return F.linear(x, weight)


def also_returned(m, x):
    """The region gives a number, too, which has no gradient."""
    with torch.no_grad():
        m.b.copy_(m.w[0])
        total = m.w.sum()
    return F.linear(x, m.w) * m.b.sum() + total


UPDATES = (count, average, part, old_and_new, view_before, swapped, repeated, nested, also_returned)


def model_of(forward):
    """A weight, two vectors and a count as buffers."""
    buffers = {"b": torch.randn(5), "c": torch.randn(5), "n": torch.zeros((), dtype=torch.long)}
    return Pattern(forward, w=parameter(3, 5), **buffers).double()


@pytest.mark.parametrize("forward", UPDATES)
def test_updates_are_those_of_the_forward(forward):
    """Exact at N in {1, 2, 5}; after a call the buffers are what a forward of the model makes of them."""
    model = model_of(forward)
    step = check(model, (4, 5))
    batch = batch_of(3, (4, 5))
    other = copy.deepcopy(model)
    for _ in range(2):
        other(batch[0])
        step(*batch)
        torch.testing.assert_close(dict(model.named_buffers()), dict(other.named_buffers()), rtol=0, atol=0)


def test_gradients_leave_the_buffers():
    """Nothing of the model changes; the new values are in the result."""
    model = model_of(average)
    step = cc.compile(model, losses)
    before = model.b.clone()
    result, _ = step.gradients(*batch_of(3, (4, 5)))
    step.verify(*batch_of(3, (4, 5)))
    torch.testing.assert_close(model.b, before, rtol=0, atol=0)
    torch.testing.assert_close(result.updates["b"], before / 2 + model.w[0].detach())


@pytest.mark.parametrize("size", [0, 1, 4])
def test_the_update_does_not_tell_how_many_examples_there_were(size):
    """Whether a batch is empty is as private as what is in it."""
    model = model_of(count)
    cc.compile(model, losses)(*batch_of(size, (4, 5)))
    assert int(model.n) == 1


def test_an_example_that_is_not_finite_is_dropped_before_the_one_update():
    """The program runs twice; the buffer is written once. Where it raises, not at all."""
    x, target = batch_of(3, (4, 5))
    x[1] = float("nan")
    model = model_of(count)
    cc.compile(model, losses, nonfinite="drop")(x, target)
    assert int(model.n) == 1
    with pytest.raises(cc.NonFiniteExamples):
        cc.compile(model, losses)(x, target)
    assert int(model.n) == 1


def test_the_saved_program_writes_them(tmp_path):
    """The module in the file needs no clipcompiler."""
    model = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3)).double()
    step = cc.compile(model, losses).prepare(*batch_of(3, (4, 5)))
    scope = {"__name__": "saved"}
    exec(step.save(tmp_path / "clipped.py").read_text(), scope)
    batch, other = batch_of(3, (4, 5)), copy.deepcopy(model)
    other(batch[0])
    _, norms, _ = scope["ClippedStep"](model)(*batch)
    torch.testing.assert_close(dict(model.named_buffers()), dict(other.named_buffers()), rtol=0, atol=0)
    assert norms.shape == (3,)


def with_gradient(m, x):
    """The buffer becomes a part of autograd's graph."""
    m.b.copy_(m.w[0])
    return F.linear(x, m.w) * m.b.sum()


def with_and_without(m, x):
    """A gradient flows into the buffer, past which the second write goes."""
    m.b.copy_(m.w[0])
    with torch.no_grad():
        m.b.add_(1)
    return F.linear(x, m.w) * m.b.sum()


def within_without(m, x):
    """The same within one region."""
    with torch.no_grad():
        m.b.add_(1)
        with torch.enable_grad():
            m.b.mul_(m.w[0])
    return F.linear(x, m.w) * m.b.sum()


def of_the_batch(m, x):
    """A sum over the examples."""
    with torch.no_grad():
        m.b.add_(x.sum((0, 1)))
    return F.linear(x, m.w)


def of_the_batch_size(m, x):
    """A number of examples."""
    m.n.add_(x.shape[0])
    return F.linear(x, m.w)


@pytest.mark.parametrize("forward", [with_gradient, with_and_without, within_without, of_the_batch, of_the_batch_size])
def test_other_updates_are_refused(forward):
    """With a gradient, or from the batch."""
    with pytest.raises(cc.CompileError):
        cc.compile(model_of(forward), losses, example_inputs=batch_of(3, (4, 5)))


def test_updates_at_every_look_at_a_recurrent_weight_are_refused():
    """Eager torch computes the weight four times a forward, a trace twice."""
    layer = torch.nn.utils.parametrizations.spectral_norm(nn.LSTM(3, 4), "weight_hh_l0")
    model = Pattern(lambda m, x: m.f(x.transpose(0, 1))[0][-1], f=layer).double()
    with pytest.raises(cc.UntraceableModel, match="parametrisation of a weight of a recurrent layer") as refusal:
        cc.compile(model, losses, example_inputs=batch_of(5, (6, 3)))
    assert refusal.value.origin.module_path == "f"
