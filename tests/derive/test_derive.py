"""Gradients derived from equations, as they are written."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler import default_rules
from clipcompiler.axes import analyse
from clipcompiler.derive import derive
from clipcompiler.trace import trace


class Calls(nn.Module):
    """A model whose forward is given."""

    def __init__(self, forward, **parameters):
        super().__init__()
        self.run = forward
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))

    def forward(self, x):
        return self.run(self, x).square().flatten(1).sum(1)


def gradients(forward, x, **parameters):
    """The gradient of every parameter as text."""
    derived = derive(analyse(trace(Calls(forward, **parameters), None, (x,)), default_rules))
    return {
        t.source.name.removeprefix("p_model_"): f"g[{','.join(map(str, t.network.output))}] = {t.network}"
        for terms in derived.terms.values()
        for t in terms
    }


r = torch.randn
CASES = {
    "linear": (lambda m, x: F.linear(x, m.w, m.b), r(4, 3), {"w": r(2, 3), "b": r(2)}),
    "sequence": (lambda m, x: F.linear(x, m.w), r(4, 5, 3), {"w": r(2, 3)}),
    "time major": (lambda m, x: F.linear(x.transpose(0, 1).tanh(), m.w).transpose(0, 1), r(4, 5, 3), {"w": r(2, 3)}),
    "merged": (lambda m, x: F.linear(x.flatten(0, 1), m.w).view(-1, 5, 2), r(4, 5, 3), {"w": r(2, 3)}),
    "convolution": (lambda m, x: F.conv1d(x, m.w, m.b, stride=2, padding=1), r(4, 3, 9), {"w": r(2, 3, 3), "b": r(2)}),
    "groups": (lambda m, x: F.conv1d(x, m.w, groups=2), r(4, 4, 9), {"w": r(6, 2, 3)}),
    "transposed": (lambda m, x: F.conv_transpose1d(x, m.w, stride=2), r(4, 3, 5), {"w": r(3, 2, 3)}),
    "scale": (lambda m, x: x * m.w, r(4, 5, 3), {"w": r(3)}),
    "temperature": (lambda m, x: x / m.w, r(4, 3), {"w": r(1)}),
}
EXPECTED = {
    "linear": {"w": "g[n,o,i] = ȳ[n,o] x[n,i]", "b": "g[n,o] = ȳ[n,o]"},
    "sequence": {"w": "g[n,o,i] = Σ_{s} ȳ[n,s,o] x[n,s,i]"},
    "time major": {"w": "g[n,o,i] = Σ_{t} ȳ[t,n,o] x[t,n,i]"},
    "merged": {"w": "g[n,o,i] = Σ_{t} ȳ[n·t,o] x[n·t,i]"},
    "convolution": {"w": "g[n,o,c,k] = Σ_{u} ȳ[n,o,u] x[n,c,2u+k-1]", "b": "g[n,o] = Σ_{u} ȳ[n,o,u]"},
    "groups": {"w": "g[n,g,o,c,k] = Σ_{u} ȳ[n,g·o,u] x[n,g·c,u+k]"},
    "transposed": {"w": "g[n,c,o,k] = Σ_{u} ȳ[n,o,2u+k] x[n,c,u]"},
    "scale": {"w": "g[n,s2] = Σ_{s1} ȳ[n,s1,s2] x[n,s1,s2]"},
    "temperature": {"w": "g[n] = Σ_{s} -1 ȳ[n,s] x[n,s] f[]"},
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_follows_from_the_equation(name):
    """What a person would derive by hand from the op's equation."""
    forward, x, parameters = CASES[name]
    found = gradients(forward, x, **parameters)
    assert found == EXPECTED[name]


def test_a_table_divided_by_frequency_is_refused():
    """How often a token occurs in the batch is no example's own."""
    model = Calls(lambda m, x: F.embedding(x, m.w, scale_grad_by_freq=True).sum(1), w=r(7, 3))
    with pytest.raises(cc.NoRule, match="scale_grad_by_freq") as refusal:
        cc.compile(model, example_inputs=(torch.zeros(4, 5, dtype=torch.long),))
    assert "test_derive.py" in str(refusal.value)
    assert "remedy" in str(refusal.value)


def test_an_op_without_an_equation_gives_its_vjp():
    """Its rule says where the examples lie, and states no equation for the centroids."""
    found = gradients(lambda m, x: torch.cdist(x, m.w), r(4, 5, 3), w=r(7, 3))
    assert found == {"w": "g[n,w1,w2] = vjp[n,w1,w2]"}


def test_two_uses_of_one_equation_are_one_term():
    """g = g₁ + g₂: both are claimed, their positions one behind the other, and exact."""
    model = Calls(lambda m, x: F.linear(F.linear(x, m.w), m.w), w=r(3, 3, dtype=torch.float64))
    step = cc.compile(model)
    assert step.verify(r(5, 3, dtype=torch.float64)) < 1e-12
    (term,) = step.plan["w"].terms
    assert len(term.uses) == 2
    assert str(term.network) == "Σ_{s} ȳ[n,s,o] x[n,s,i]"


def test_two_uses_of_different_equations_are_two_terms():
    """g = g₁ + g₂, x Wᵀ and x ∘ w: their products have no letters apart, so the gradients are added."""
    model = Calls(lambda m, x: F.linear(x, m.w) + (x[:, None] * m.w).sum(2), w=r(3, 3, dtype=torch.float64))
    step = cc.compile(model)
    assert step.verify(r(5, 3, dtype=torch.float64)) < 1e-12
    assert len(step.plan["w"].terms) == 2
