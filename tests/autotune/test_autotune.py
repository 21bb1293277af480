"""autotune=True: every way of a parameter is run, the fastest stands in the plan with its time, the result is exact."""

import pytest
import torch
from comparison import assert_exact, median_norm
from torch import nn

import clipcompiler as cc
from clipcompiler.autotune import Meter, Timed, seconds_of, tuned_plan
from clipcompiler.memory import Subject
from clipcompiler.plan import Order, single
from paper_models import build

LOSS = nn.CrossEntropyLoss(reduction="none")


def batch_of(size, dtype=torch.float64):
    return torch.randn(size, 1, 28, 28, dtype=dtype), torch.randint(0, 10, (size,))


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_a_tuned_step_is_exact_and_says_what_was_measured(name, capfd):
    model, batch = build(name, width=0.2).double(), batch_of(6)
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch), autotune=True)
    assert_exact(step, batch)
    assert "the fastest measured for 6" in step.source
    assert_exact(step, tuple(t[:1] for t in batch))
    shown = capfd.readouterr().err
    assert "autotune: norms and sums of a step: as predicted" in shown
    assert "autotune: a step by examples at a time: 6: " in shown
    for choice in step.plan.choices:
        assert f"autotune: {choice.name}: measured: " in shown


def test_the_slower_way_is_not_chosen(monkeypatch):
    """Ways whose times are given: the least of them is picked, once, and its reason lists the three fastest."""
    model, batch = build("mlp", width=0.2).double(), batch_of(3)
    step = cc.compile(model, LOSS).prepare(*batch)
    meter = Meter.of(step.plan, step.latest.program, Subject(model, LOSS, batch, {}))
    meter.tell = lambda text: None
    ways = [w for w in _ways(step, "fc2.weight") if w.order in (Order.RANK_ONE, Order.KEEP, Order.DISCARD)]
    times = [0.001 * (3 + abs(k - 2)) for k in range(len(ways))]
    monkeypatch.setattr("clipcompiler.autotune.tune.seconds_of", lambda plans, *_, **__: times)
    best = meter.fastest(ways)
    assert best.order is ways[2].order
    assert best.why.startswith(f"measured: {ways[2].label} 3 ms < ")
    monkeypatch.setattr("clipcompiler.autotune.tune.seconds_of", lambda *_, **__: pytest.fail("measured again"))
    assert meter.fastest(ways) == best


def _ways(step, name):
    """The ways of one parameter."""
    from clipcompiler.plan.candidates import candidates

    choice = step.plan[name]
    return candidates(choice.source, name, choice.terms)


def test_a_plan_is_chosen_by_the_whole_step(monkeypatch):
    """Of three plans the fastest, whatever the parameters took alone."""
    model, batch = build("mlp", width=0.2).double(), batch_of(3)
    step = cc.compile(model, LOSS).prepare(*batch)
    meter = Meter.of(step.plan, step.latest.program, Subject(model, LOSS, batch, {}))
    told = []
    meter.tell = told.append
    plans = {False: single(step.plan, step.plan["fc1.weight"]), True: single(step.plan, step.plan["fc2.weight"])}
    monkeypatch.setattr("clipcompiler.autotune.tune.seconds_of", lambda *_, **__: [0.3, 0.1, 0.2])
    assert tuned_plan(meter, lambda pick, share: plans[share]) is plans[False]
    assert "as measured one by one 100 ms" in told[-1]


def test_the_time_of_a_plan_is_that_of_its_norms_and_sums():
    """A clock that is read twice for each chunk; more work takes longer."""
    model, batch = build("mlp"), batch_of(64, torch.float32)
    step = cc.compile(model, LOSS).prepare(*batch)
    timed = Timed.of(step.plan)
    given = {"parameters": dict(model.named_parameters()), "buffers": {}}
    took = timed.run(*given.values(), *batch, max_grad_norm=1.0, chunk=16)
    assert took > 0
    assert len(timed.marks) == 8
    options = {"max_grad_norm": 1.0, "chunk": None}
    keep = next(w for w in _ways(step, "fc1.weight") if w.order is Order.KEEP)
    rank_one = next(w for w in _ways(step, "fc1.weight") if w.order is Order.RANK_ONE)
    plans = [single(step.plan, way) for way in (keep, rank_one)]
    slow, quick = seconds_of(plans, (*given.values(), *batch), options)
    assert quick < slow
