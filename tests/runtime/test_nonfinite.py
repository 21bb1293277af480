"""Examples whose loss or gradient is not finite: named, or left out of the sum exactly."""

import copy

import pytest
import torch
from torch import nn

import clipcompiler as cc
from clipcompiler.runtime import ClippedGradients
from clipcompiler.runtime.batch import batch_of
from clipcompiler.runtime.nonfinite import dropped

LOSS = nn.CrossEntropyLoss(reduction="none")
BAD = [3, 100, 255]


def model():
    """Two layers, over positions too."""
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Flatten(), nn.Linear(24, 4))


def batch(size=256, bad=()):
    """Inputs and classes; the examples ``bad`` hold an infinity, a minus infinity and a NaN in turn."""
    x, target = torch.randn(size, 3, 5), torch.randint(0, 4, (size,))
    for k, n in enumerate(bad):
        x[n, k % 3, k % 5] = (float("inf"), -float("inf"), float("nan"))[k % 3]
    return x, target


def finite(x):
    """The places of the examples without infinity or NaN."""
    return x.flatten(1).isfinite().all(1)


def steps(words=("raise", "drop")):
    """One model, a step for each word."""
    shared = model()
    return [cc.compile(shared, LOSS, max_grad_norm=0.1, nonfinite=word) for word in words]


def grads(step):
    """Copies of .grad."""
    return [p.grad.clone() for p in step.model.parameters()]


def test_raise_names_the_examples_and_leaves_grad_as_it_was():
    """3 of 256, by their places; .grad is bit-equal."""
    (step,) = steps(["raise"])
    step(*batch())
    before = grads(step)
    with pytest.raises(cc.NonFiniteExamples, match=r"3 of 256 examples .* not finite: 3, 100, 255; .*drop") as caught:
        step(*batch(bad=BAD))
    assert caught.value.examples == BAD
    assert isinstance(caught.value, FloatingPointError)
    assert all(torch.equal(a, b) for a, b in zip(before, grads(step), strict=True))


def test_drop_equals_the_step_on_the_others():
    """To the bit: losses, norms, clip factors and clipped sums of the 253; nothing of the 3."""
    raising, dropping = steps()
    x, target = batch(bad=BAD)
    kept = finite(x)
    result, sums = dropping.gradients(x, target)
    expected, expected_sums = raising.gradients(x[kept], target[kept])
    for name in ("losses", "norms", "clip_factors"):
        assert torch.equal(getattr(result, name)[kept], getattr(expected, name))
    assert all(torch.equal(sums[name], expected_sums[name]) for name in sums)
    assert not result.clip_factors[~kept].any()
    assert not (result.norms[~kept].isfinite() & result.losses[~kept].isfinite()).any()


def test_drop_adds_to_grad_what_the_others_contribute():
    """Twice: .grad accumulates."""
    raising, dropping = steps()
    x, target = batch(bad=BAD)
    for _ in range(2):
        dropping(x, target)
    found = grads(dropping)
    dropping.model.zero_grad()
    for _ in range(2):
        raising(x[finite(x)], target[finite(x)])
    assert all(torch.equal(a, b) for a, b in zip(found, grads(raising), strict=True))


def test_drop_changes_nothing_where_all_are_finite():
    """The same numbers, to the bit."""
    raising, dropping = steps()
    given = batch()
    (a, sums), (b, others) = raising.gradients(*given), dropping.gradients(*given)
    assert torch.equal(a.norms, b.norms)
    assert all(torch.equal(sums[name], others[name]) for name in sums)


def test_drop_of_every_example_adds_zeros():
    """.grad is zeros where there was none, and bit-equal where there was."""
    (step,) = steps(["drop"])
    result = step(*batch(4, bad=range(4)))
    assert not result.clip_factors.any()
    assert all(not g.any() for g in grads(step))
    step(*batch())
    before = grads(step)
    step(*batch(4, bad=range(4)))
    assert all(torch.equal(a, b) for a, b in zip(before, grads(step), strict=True))


def test_a_gradient_that_is_not_finite_is_dropped():
    """A finite loss whose gradient is not: √0."""
    step = cc.compile(nn.Linear(5, 1).double(), lambda o, t: torch.sqrt((o[:, 0] - t).abs()), nonfinite="drop")
    with torch.no_grad():
        step.model.weight.zero_()
        step.model.bias.zero_()
    x, target = torch.randn(3, 5).double(), torch.tensor([-1.0, 0.0, -2.0]).double()
    result, sums = step.gradients(x, target)
    assert result.clip_factors.ne(0).tolist() == [True, False, True]
    _, expected = step.gradients(x[[0, 2]], target[[0, 2]])
    assert all(torch.equal(sums[name], expected[name]) for name in sums)


def test_keyword_tensors_are_dropped_with_their_examples():
    """A keyword's tensor is indexed like the others, and a number is left alone."""

    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 4)

        def forward(self, x, *, weight, power):
            return self.fc(x) * weight[:, None] ** power

    step = cc.compile(Weighed(), LOSS, nonfinite="drop")
    x, target, weight = torch.randn(4, 5), torch.randint(0, 4, (4,)), torch.tensor([1.0, float("nan"), 2.0, 3.0])
    result, sums = step.gradients(x, target, weight=weight, power=2)
    kept = torch.tensor([0, 2, 3])
    expected, expected_sums = step.gradients(x[kept], target[kept], weight=weight[kept], power=2)
    assert torch.equal(result.norms[kept], expected.norms)
    assert all(torch.equal(sums[name], expected_sums[name]) for name in sums)


def test_what_becomes_infinite_without_the_others_is_dropped_too():
    """It runs again until all are finite; every place keeps the loss with which it was left."""
    seen = []

    def run(part, ids):
        (places,) = part.tensors
        seen.append(places.tolist())
        norms = torch.where(places == len(places), float("inf"), places.double())  # place 4 falls in a batch of 4
        return ClippedGradients(norms * 10, norms, torch.full_like(norms, 0.5)), {"w": places.sum()}

    result, sums = dropped(run, batch_of((torch.tensor([0, 5, 4, 1, 2]),), {}), None, 1)
    assert seen == [[0, 5, 4, 1, 2], [0, 4, 1, 2], [0, 1, 2]]
    assert sums == {"w": torch.tensor(3)}
    assert result.norms.tolist() == [0, float("inf"), float("inf"), 1, 2]
    assert result.clip_factors.tolist() == [0.5, 0, 0, 0.5, 0.5]


def test_the_word_is_checked_and_copied():
    """A copy of a step drops as the step does."""
    with pytest.raises(ValueError, match="give 'raise' or 'drop'"):
        cc.compile(model(), LOSS, nonfinite="skip")
    (step,) = steps(["drop"])
    assert copy.deepcopy(step).nonfinite == "drop"


@pytest.mark.parametrize("clipping", [None, cc.PerLayer()])
def test_whole_units_are_dropped(clipping):
    """A unit with an example that is not finite leaves with all its examples; the step equals that on the others."""
    x, target = batch(12, bad=[3, 10])
    shared = model()
    ids = torch.tensor([5, 5, 2, 2, 0, 0, 7, 7, 5, 2, 7, 0])
    rest = (ids != 2) & (ids != 7)
    step = cc.compile(shared, LOSS, max_grad_norm=0.1, nonfinite="drop", clipping=clipping)
    result, sums = step.gradients(x, target, unit_ids=ids)
    expected, others = step.gradients(x[rest], target[rest], unit_ids=ids[rest])
    assert all(torch.equal(sums[k], others[k]) for k in sums)
    assert result.units.tolist() == [0, 2, 5, 7]
    assert torch.equal(result.clip_factors[[0, 2]], expected.clip_factors)
    assert not result.clip_factors[[1, 3]].any()
    assert torch.equal(result.losses[rest], expected.losses)

    consecutive = cc.compile(shared, LOSS, max_grad_norm=0.1, nonfinite="drop", clipping=clipping, examples_per_unit=4)
    result, sums = consecutive.gradients(x, target)
    expected, others = consecutive.gradients(x[4:8], target[4:8])
    assert all(torch.equal(sums[k], others[k]) for k in sums)
    assert torch.equal(result.clip_factors[1:2], expected.clip_factors)
    assert not result.clip_factors[[0, 2]].any()
    assert not result.norms[0].isfinite().all()


def test_the_examples_of_units_that_are_not_finite_are_named():
    """All examples of the unit: which of them it was, its norm does not tell."""
    x, target = batch(8, bad=[5])
    with pytest.raises(cc.NonFiniteExamples) as caught:
        cc.compile(model(), LOSS, examples_per_unit=2).gradients(x, target)
    assert caught.value.examples == [4, 5]
    with pytest.raises(cc.NonFiniteExamples) as caught:
        cc.compile(model(), LOSS).gradients(x, target, unit_ids=torch.tensor([0, 1, 2, 1, 0, 2, 1, 2]))
    assert caught.value.examples == [2, 5, 7]
