"""Orders that change with a length: where they change, and that the program asks which length it is."""

from dataclasses import replace

import pytest
import torch
from comparison import assert_exact
from torch import nn

import clipcompiler as cc
from clipcompiler.axes import analyse
from clipcompiler.codegen import generate
from clipcompiler.derive import derive
from clipcompiler.plan import Machine, Order, plan
from clipcompiler.plan.candidates import candidates
from clipcompiler.rules import default_rules
from clipcompiler.trace import trace


class Positions(nn.Module):
    """Two linear layers that read one x at T positions, and one that reads both, each with a bias or not."""

    def __init__(self, features=64):
        super().__init__()
        self.a, self.b = nn.Linear(features, features), nn.Linear(features, features)
        self.c = nn.Linear(features, 3 * features, bias=False)

    def forward(self, x):
        return self.c(self.a(x).tanh() * self.b(x)).square().mean((1, 2))


def planned(machine=None, positions=20, **options):
    """The plan for a machine."""
    batch = (torch.zeros(2, positions, 64),)
    traced = trace(Positions(), None, batch, has_rule=lambda op: default_rules.find(op) is not None, **options)
    return plan(derive(analyse(traced, default_rules)), machine)


DYNAMIC = {"dynamic": {"x": {1: "T"}}}


def test_fixed_lengths_decide_nothing():
    assert planned().decisions == ()


def test_an_order_changes_where_another_is_predicted_to_be_faster():
    """Of a parameter that shares nothing: the way of each piece is the fastest at its ends."""
    machine = Machine()
    made = planned(machine, **DYNAMIC)
    (decision,) = (d for d in made.decisions if any(c.name == "c.weight" for c in d.pieces[0].choices))
    (source,) = decision.sources
    (letter,) = made.derived.axes.traced.usual
    ways = candidates(source, "c.weight", made.derived.terms[source])
    ends = [(piece, size) for piece in decision.pieces[:-1] for size in (2, piece.most)]
    ends += [(decision.pieces[-1], decision.pieces[-2].most + 1), (decision.pieces[-1], 50_000)]
    for piece, size in ends:
        at = replace(machine, lengths={letter: size})
        fastest = min(ways, key=lambda way: way.seconds(at))
        (own,) = piece.choices
        assert own.trees == fastest.trees
    assert [piece.choices[0].order for piece in decision.pieces] == [Order.GRAM, Order.KEEP]


def test_parameters_that_share_a_gram_and_their_biases_are_decided_together():
    """Their Gram of x is computed within one branch."""
    made = planned(Machine(), **DYNAMIC)
    names = {c.name for d in made.decisions for c in d.pieces[0].choices if len(d.sources) > 1}
    assert {"a.weight", "a.bias", "b.weight", "b.bias"} <= names


@pytest.mark.parametrize("positions", [5, 400])
def test_the_plan_says_where_its_choices_end(positions):
    """Whatever the length that it was made for."""
    made = planned(Machine(), positions, **DYNAMIC)
    (decision,) = (d for d in made.decisions if any(c.name == "c.weight" for c in d.pieces[0].choices))
    most = decision.pieces[0].most
    assert f"Gram while T ≤ {most}, instantiate, keep beyond" in str(made)
    assert f"if T <= {most}:" in generate(made).source
    assert made["c.weight"].order is (Order.GRAM if positions <= most else Order.KEEP)


def test_both_branches_are_exact():
    """On either side of every condition."""
    torch.manual_seed(0)
    step = cc.compile(Positions().double(), max_grad_norm=0.01, **DYNAMIC)
    step.prepare(torch.zeros(2, 20, 64).double())
    ends = {piece.most for d in step.plan.decisions for piece in d.pieces[:-1]}
    assert ends
    for size in sorted({size for end in ends for size in (end, end + 1)}):
        assert_exact(step, (torch.randn(3, size, 64).double(),))
    assert step.compilations == 1
