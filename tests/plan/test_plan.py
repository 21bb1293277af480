"""Plans: which order is chosen, what the table says, and that every choice is the cheapest."""

import pytest
import torch
from comparison import compiled
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.dsl import equation, indices, out
from clipcompiler.plan import Order
from clipcompiler.trace import N
from paper_models import build

LOSS = nn.CrossEntropyLoss(reduction="none")


class Sequence(nn.Module):
    """One linear layer over S positions, its losses the mean squares."""

    def __init__(self, features, outputs):
        super().__init__()
        self.fc = nn.Linear(features, outputs)

    def forward(self, x):
        return self.fc(x).square().flatten(1).mean(1)


def order_of(positions, features, outputs, **options):
    """The order chosen for a linear layer over some positions."""
    step = cc.compile(Sequence(features, outputs), example_inputs=(torch.zeros(2, positions, features),), **options)
    return step.plan["fc.weight"].order


def test_orders_are_compared_for_the_examples_at_a_time():
    """The three products of a Gram cost more than they save where they are called for every example."""
    assert order_of(8, 64, 64) is Order.GRAM
    assert order_of(8, 64, 64, chunk_size=1) is Order.KEEP


def test_the_crossover_from_gram_to_instantiation():
    """Gram while S²(O+I) < S·O·I, by far; instantiate where it is the other way round, by far."""
    assert order_of(4, 512, 512) is Order.GRAM
    assert order_of(512, 64, 64) in (Order.KEEP, Order.DISCARD)
    assert "S²(O+I) = 16.4 k < S·O·I = 1.05 M" in str(
        cc.compile(Sequence(512, 512), example_inputs=(torch.zeros(2, 4, 512),)).plan
    )


@pytest.mark.parametrize("positions", [1, 4, 200])
def test_every_order_of_a_layer_is_exact(positions):
    """Whichever the plan chooses for short, medium and long sequences."""
    model = Sequence(12, 9).double()
    step = cc.compile(model, max_grad_norm=0.5)
    assert step.verify(torch.randn(3, positions, 12, dtype=torch.float64)) < 1e-12


def test_a_bias_is_folded_into_the_gram_of_its_weight():
    """Rank one and Gram both: the bias has no norm of its own."""
    plan = compiled(build("mlp"), LOSS, (torch.randn(2, 784), torch.zeros(2, dtype=torch.long)))
    plan = plan.prepare(torch.randn(2, 784), torch.zeros(2, dtype=torch.long)).plan
    assert [plan[f"fc{k}.weight"].order for k in (1, 2, 3)] == [Order.RANK_ONE] * 3
    assert [plan[f"fc{k}.bias"].order for k in (1, 2)] == [Order.FOLDED] * 2
    assert plan["fc1.bias"].norm.flops == 0


def test_several_biases_of_one_op_are_all_folded_in_and_all_counted():
    """Σ K_ȳ (K_x + 2), by an op of its own with two biases, without positions and with two."""
    with torch.library._scoped_library("plan_test", "DEF") as library:
        library.define("affine(Tensor x, Tensor weight, Tensor a, Tensor b) -> Tensor")
        library.impl("affine", lambda x, weight, a, b: F.linear(x, weight) + a + b, "CompositeImplicitAutograd")
        op = torch.ops.plan_test.affine.default
        n, s, i, o = indices("n *s i o")

        @cc.op_rule(op)
        def affine(x, weight, a, b):
            """y[n,s,o] = Σ_i x[n,s,i] W[o,i] + a[o] + b[o]"""
            return equation(out[n, s, o], x[n, s, i] * weight[o, i] + a[o] + b[o])

        class TwoBiases(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight, self.a, self.b = (nn.Parameter(torch.randn(k)) for k in ((40, 30), 40, 40))

            def forward(self, x):
                return op(x, self.weight, self.a, self.b).square().flatten(1).mean(1)

        rules = cc.default_rules | cc.RuleSet([affine])
        step = cc.compile(TwoBiases().double(), rules=rules, max_grad_norm=3.0)
        for shape, order in (((4, 30), Order.RANK_ONE), ((4, 2, 30), Order.GRAM)):
            assert step.verify(torch.randn(shape, dtype=torch.float64)) < 1e-12
            assert step.plan["weight"].order is order
            assert [step.plan[name].order for name in ("a", "b")] == [Order.FOLDED] * 2
            assert step.plan["a"].host is step.plan["b"].host


def test_the_table_has_a_row_for_every_parameter_and_the_totals():
    """Trainable, frozen and unreached parameters are all named; the three totals are printed."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.frozen, self.unused = nn.Linear(4, 3), nn.Linear(4, 4), nn.Linear(2, 2)
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.fc(self.frozen(x)).sum(1)

    step = cc.compile(Model(), example_inputs=(torch.zeros(2, 4),))
    text = str(step.plan)
    for word in ("parameter", "rule", "order", "flops/N", "bytes/N", "why"):
        assert word in text.splitlines()[0]
    assert "frozen, no cost: frozen.weight, frozen.bias" in text
    assert "the loss does not depend on it" in next(line for line in text.splitlines() if "unused.weight" in line)
    for total in ("ordinary step:", "squared norms:", "clipped sums:"):
        assert total in text
    with pytest.raises(KeyError, match=r"no parameter 'nope' in the plan; it has fc\.weight"):
        step.plan["nope"]


def test_the_flops_of_an_ordinary_step_are_counted_from_the_equations():
    """Two linear layers: forward, both weight gradients, one input gradient: 2·(2 + 2 + 1) products… by hand."""
    model = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 30))
    step = cc.compile(model, lambda o, t: o[:, 0] * t, example_inputs=(torch.zeros(2, 10), torch.zeros(2)))
    per_example = float(step.plan.ordinary.subs(N, 1))
    first, second = 2 * 10 * 20, 2 * 20 * 30
    assert per_example == pytest.approx(2 * first + 3 * second, rel=0.05)


def test_several_uses_are_one_network():
    """A weight used twice: ‖g₁ + g₂‖² is not ‖g₁‖² + ‖g₂‖², but the square of one sum over both."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4, dtype=torch.float64))

        def forward(self, x):
            return F.linear(F.linear(x, self.w).tanh(), self.w).square().sum(1)

    step = cc.compile(Twice())
    assert step.verify(torch.randn(5, 4, dtype=torch.float64)) < 1e-12
    assert step.plan["w"].why.startswith("2 uses, one behind the other: S·O·I = 32")


class Packed(nn.Module):
    """Two linear maps, their weights and biases packed, the second weight transposed."""

    def __init__(self, features):
        super().__init__()
        self.w = nn.Parameter(torch.randn(2 * features, features, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(2 * features, dtype=torch.float64))
        self.v = nn.Parameter(torch.randn(features, 3, dtype=torch.float64))

    def forward(self, x):
        first, second = self.w.chunk(2)
        one, two = self.b.chunk(2)
        h = F.linear(F.linear(x, first, one).tanh(), second, two)
        return F.linear(h, self.v.t()).square().flatten(1).sum(1)


def test_packed_and_transposed_weights_take_a_gram():
    """Short sequences of wide features: no weight's gradient is formed, and biases cost nothing."""
    step = cc.compile(Packed(64), example_inputs=(torch.zeros(2, 4, 64, dtype=torch.float64),))
    orders = {choice.name: choice.order for choice in step.plan.choices}
    assert orders["getitem"] is orders["getitem_1"] is orders["v"] is Order.GRAM
    assert orders["getitem_2"] is orders["getitem_3"] is Order.FOLDED
    assert orders["w"] is orders["b"] is Order.READ_ONCE
    assert "_each" not in step.source
    assert step.verify(torch.randn(3, 4, 64, dtype=torch.float64)) < 1e-12


def test_the_table_says_what_becomes_of_a_parameter_behind_functions():
    """Which parameters a value is made of, and how its gradient gets to them."""
    step = cc.compile(Packed(8), example_inputs=(torch.zeros(2, 4, 8, dtype=torch.float64),))
    rows = {line.split()[0]: line for line in str(step.plan).splitlines() if line}
    assert "(of w)" in rows["getitem"]
    assert "pull back the sum" in rows["w"]
    assert "every element is in getitem or getitem_1 at most once" in rows["w"]
    assert "getitem_1" in str(step.derivation("w"))
    assert "the op reads t of it" in str(step.derivation("v"))
    assert "every element is in getitem or getitem_1" in step.source


def test_parameters_of_one_value_that_are_clipped_apart_are_pulled_back_by_example():
    """The norm of the value says nothing of either part."""

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.v = (nn.Parameter(torch.randn(n, 5, dtype=torch.float64)) for n in (2, 3))

        def forward(self, x):
            return F.linear(x, torch.cat([self.w, self.v])).square().flatten(1).sum(1)

    x = torch.randn(3, 4, 5, dtype=torch.float64)
    together = cc.compile(Joined(), example_inputs=(x,)).plan
    apart = cc.compile(Joined(), clipping=cc.PerGroup({"w": 1.0, "v": 1.0}), example_inputs=(x,)).plan
    assert together["w"].order is together["v"].order is Order.READ_ONCE
    assert apart["w"].order is apart["v"].order is Order.PULLED


def test_what_a_batch_costs_once_is_shared_by_its_examples():
    """The vjp of a clipped sum moves the parameter's bytes once a batch."""
    step = cc.compile(Packed(64), example_inputs=(torch.zeros(2, 4, 64, dtype=torch.float64),))
    row = next(line for line in str(step.plan).splitlines() if line.startswith("w "))
    assert f"  {2 * 4 * 128 * 64 / 128:.0f}  " in row
