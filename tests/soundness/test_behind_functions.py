"""Parameters behind functions: every way to their gradient is exact, and no gradient is formed where none need be."""

import pytest
import torch
from behind_functions import PULLED, READ_ONCE, SUBSTITUTED
from comparison import PROMISED, median_norm, mostly_slow
from patterns import SIZES, Pattern, batch_of, check, losses
from torch import nn

import clipcompiler as cc
from clipcompiler.plan import Order
from clipcompiler.verify import oracle, relative, relative_sums

EVERY = {**SUBSTITUTED, **READ_ONCE, **PULLED}
#: Those tried with units and groups as well.
SOME = (
    "t", "heads, behind", "a row repeated, transposed", "a divisor, transposed", "W and its transpose",
    "packed", "packed attention", "a layer each", "picked and the others", "joined in pieces", "one slice twice",
    "slices that only look apart", "a slice and the whole", "joined with a frozen part", "in many ops",
)  # fmt: skip
BY_FUNCTION = {Order.FUNCTION, Order.PULLED, Order.READ_ONCE}


def orders(step):
    """The orders of all parameters and values."""
    return {choice.order for choice in step.plan.choices}


@pytest.mark.parametrize("name", SUBSTITUTED)
def test_a_reordered_parameter_is_a_parameter(name):
    """Its terms are those of any parameter, with any order; exact at N in {1, 2, 5}."""
    forward, parts, shape = SUBSTITUTED[name]
    step = check(Pattern(forward, **parts), shape)
    assert not orders(step) & BY_FUNCTION
    assert "requires_grad_()" not in step.source.split("── forward")[0]


@pytest.mark.parametrize("name", mostly_slow(READ_ONCE, every=2))
def test_parameters_read_once_are_pulled_back_after_the_sum(name):
    """Norms from the values, no vmap; exact at N in {1, 2, 5}."""
    forward, parts, shape = READ_ONCE[name]
    step = check(Pattern(forward, **parts), shape)
    assert orders(step) & BY_FUNCTION == {Order.READ_ONCE}
    assert "is_grads_batched" not in step.source


@pytest.mark.parametrize("name", mostly_slow(PULLED, every=2))
def test_any_other_function_is_pulled_back_by_example(name):
    """Nothing is proven of it, so g[n] itself is formed; exact at N in {1, 2, 5}."""
    forward, parts, shape = PULLED[name]
    step = check(Pattern(forward, **parts), shape)
    assert Order.PULLED in orders(step)


class Shifted(nn.Module):
    """A model and one more parameter, so that there are two groups at least."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.shift = nn.Linear(1, 1)

    def forward(self, x):
        y = self.body(x)
        return y + self.shift(y.flatten(1)[:, :1]).reshape(-1, *[1] * (y.dim() - 1))


def assert_exact_in_groups(model, shape, sizes, clipping=None, examples_per_unit=1, ids=None):
    """Norms of every group or unit, and clipped sums, within what is promised of the loop in float64."""
    step = cc.compile(model, losses, clipping=clipping, examples_per_unit=examples_per_unit)
    for size in sizes:
        batch = batch_of(size * examples_per_unit, shape)
        step.max_grad_norm = median_norm(model, losses, batch)
        given = None if ids is None else ids(size)
        result, gradients = step.gradients(*batch, unit_ids=given)
        truth = oracle(
            model,
            losses,
            batch,
            max_grad_norm=step.max_grad_norm,
            clipping=clipping,
            examples_per_unit=examples_per_unit,
            unit_ids=given,
        )
        assert relative(result.norms, truth.norms) <= PROMISED[torch.float64]
        assert relative_sums(gradients, truth.gradients) <= PROMISED[torch.float64]
    return step


@pytest.mark.parametrize("name", mostly_slow([*READ_ONCE, *PULLED]))
def test_parameters_clipped_apart(name):
    """Each parameter a group of its own: a value of two parameters says nothing of either norm."""
    forward, parts, shape = EVERY[name]
    model = Shifted(Pattern(forward, **parts)).double()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    groups = cc.PerGroup({name: 0.5 + k for k, name in enumerate(names)})
    step = assert_exact_in_groups(model, shape, SIZES, clipping=groups)
    if name in READ_ONCE and "v" in parts:
        assert step.plan["body.w"].order is step.plan["body.v"].order is Order.PULLED


@pytest.mark.parametrize("name", mostly_slow(SOME))
def test_parameters_clipped_by_layer(name):
    """The parameters of a module are clipped together, a value of them with them."""
    forward, parts, shape = EVERY[name]
    assert_exact_in_groups(Shifted(Pattern(forward, **parts)).double(), shape, SIZES, clipping=cc.PerLayer())


@pytest.mark.parametrize("name", mostly_slow(SOME))
def test_units_of_equal_size(name):
    """Two examples a unit, whose gradients are added before any is squared."""
    forward, parts, shape = EVERY[name]
    assert_exact_in_groups(Pattern(forward, **parts).double(), shape, SIZES, examples_per_unit=2)


@pytest.mark.parametrize("name", mostly_slow(SOME))
def test_units_by_id(name):
    """Units of any size, known at the call."""
    forward, parts, shape = EVERY[name]

    def ids(size):
        return torch.randint(0, 3, (size,))

    assert_exact_in_groups(Pattern(forward, **parts).double(), shape, SIZES, ids=ids)
