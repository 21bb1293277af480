"""Control-flow ops: exact, or refused where the batch steers them."""

import pytest
import torch
from comparison import assert_exact
from torch import nn
from torch._higher_order_ops import map as mapped
from torch._higher_order_ops import scan, while_loop

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")


class Controlled(nn.Module):
    """Two layers, a flag, and a forward that is given."""

    def __init__(self, forward):
        super().__init__()
        self.f, self.g, self.own = nn.Linear(2, 3), nn.Linear(2, 3), forward
        self.register_buffer("flag", torch.tensor(1.0))

    def forward(self, x):
        return self.own(self, x)


def branch(model, x):
    return torch.cond(model.flag > 0, model.f, lambda v: model.g(v).tanh(), (x.sum(1),))


def over_time(model, x):
    return mapped(lambda step: model.f(step).tanh(), x.transpose(0, 1)).sum(0)


def recurrence(model, x):
    def step(carry, value):
        h = (carry + model.f(value)).tanh()
        return h, h * model.g(value)

    last, outputs = scan(step, x.new_zeros(x.shape[0], 3), x.transpose(0, 1), reverse=True)
    return last + outputs.sum(0)


@pytest.mark.parametrize("forward", [branch, over_time, recurrence])
def test_exact(forward):
    step = cc.compile(Controlled(forward).double(), LOSS, max_grad_norm=0.3)
    for size in (1, 2, 5):
        assert_exact(step, (torch.randn(size, 4, 2, dtype=torch.float64), torch.randint(3, (size,))))


def test_the_other_branch_is_taken_without_compiling_anew():
    """Both are in the program, and the flag is read at every call."""
    model = Controlled(branch).double()
    step = cc.compile(model, LOSS, max_grad_norm=0.3)
    for flag in (1.0, -1.0):
        model.flag.fill_(flag)
        assert_exact(step, (torch.randn(3, 4, 2, dtype=torch.float64), torch.randint(3, (3,))))
    assert step.compilations == 1


STEERED = {
    "by a sum over the batch": (
        lambda m, x: torch.cond(x.sum() > 0, m.f, m.g, (x.sum(1),)), cc.ExamplesMixed, "sum over dim 0"),
    "over the examples": (lambda m, x: mapped(m.f, x.sum(1)), cc.CompileError, "batch size"),
    "as long as values say": (
        lambda m, x: m.f(while_loop(lambda v: v.abs().sum() > 1, lambda v: (v / 2,), (x.sum(1),))[0]),
        cc.UntraceableModel, "a while_loop runs as often as the values"),
}  # fmt: skip


@pytest.mark.parametrize("name", STEERED)
def test_what_the_batch_steers_is_refused(name):
    forward, error, message = STEERED[name]
    batch = torch.randn(5, 4, 2, dtype=torch.float64), torch.randint(3, (5,))
    with pytest.raises(error, match=message):
        cc.compile(Controlled(forward).double(), LOSS, example_inputs=batch)
