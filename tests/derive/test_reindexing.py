"""What is derived of parameters behind functions: substituted terms, and the proof that elements are read once."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler import default_rules
from clipcompiler.axes import analyse
from clipcompiler.derive import derive
from clipcompiler.derive.read_once import distinct
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


def derived_of(forward, x, **parameters):
    """What is derived of a model."""
    return derive(analyse(trace(Calls(forward, **parameters), None, (x,)), default_rules))


r = torch.randn
SUBSTITUTED = {
    "transposed": (lambda m, x: F.linear(x, m.w.t()), r(4, 7, 3), r(3, 2), ["g[n,i,o] = Σ_{s} ȳ[n,s,o] x[n,s,i]"]),
    "tied": (
        lambda m, x: F.linear(F.linear(x, m.w), m.w.t()),
        r(4, 3),
        r(2, 3),
        ["g[n,o,i] = ȳ[n,o] x[n,i]", "g[n,i,o] = ȳ[n,o] x[n,i]"],
    ),
    "of heads": (
        lambda m, x: torch.einsum("ni,ihd->nhd", x, m.w.view(2, 4, 3).permute(2, 0, 1)),
        r(5, 3),
        r(8, 3),
        ["g[n,h,d,i] = ȳ[n,h,d] tensors[0][n,i]"],
    ),
    "repeated": (lambda m, x: x + m.w.expand(7, 3), r(4, 7, 3), r(3), ["g[n,s2] = Σ_{s1} ȳ[n,s1,s2]"]),
    "as a matrix": (lambda m, x: F.linear(x, m.w.flatten(1)), r(4, 6), r(2, 3, 2), ["g[n,o,i] = ȳ[n,o] x[n,i]"]),
    "grouped": (
        lambda m, x: F.conv1d(x, m.w.permute(2, 0, 1), groups=2),
        r(4, 4, 9),
        r(2, 3, 6),
        ["g[n,c,k,g,o] = Σ_{u} ȳ[n,g·o,u] x[n,g·c,u+k]"],
    ),
}


@pytest.mark.parametrize("name", SUBSTITUTED)
def test_a_reordered_parameter_has_terms_of_its_own(name):
    """The letters of g in the order of the parameter's elements; nothing is left behind a function."""
    forward, x, weight, expected = SUBSTITUTED[name]
    derived = derived_of(forward, x, w=weight)
    ((source, terms),) = derived.terms.items()
    assert source.op == "placeholder"
    assert [f"g[{','.join(map(str, t.network.output))}] = {t.network}" for t in terms] == expected
    assert not derived.functions.values


def test_a_term_of_a_value_is_one_of_what_the_value_reorders():
    """tanh(W)ᵀ is used, tanh(W) is what is pulled back; both uses of it are terms of one value."""
    derived = derived_of(lambda m, x: F.linear(F.linear(x, m.w.tanh()), m.w.tanh().t()), r(4, 3), w=r(2, 3))
    (value,) = derived.functions.values
    assert value.name == "tanh"
    assert len(derived.terms[value]) == 2


def test_a_letter_over_several_dims_is_left_behind_its_function():
    """Rows of heads, merged after they were moved: one letter is the product of two dims of the parameter."""
    derived = derived_of(lambda m, x: F.linear(x, m.w.view(2, 4, 3).transpose(0, 1).reshape(8, 3)), r(4, 3), w=r(8, 3))
    assert [value.name for value in derived.functions.values] == ["transpose"]
    assert len(derived.functions.read_once) == 1


def test_a_cast_on_the_way_keeps_the_gradient_of_the_cotangent():
    """A weight in float32, used in float64: its gradient is formed from what the op knows, in float64."""
    model = Calls(lambda m, x: F.linear(x, m.w.t().double()), w=r(3, 2))
    x = r(4, 7, 3, dtype=torch.float64)
    step = cc.compile(model, example_inputs=(x,))
    assert [choice.name for choice in step.plan.choices] == ["w"]
    result, _ = step.gradients(x)
    truth = cc.verify.oracle(model, None, (x,))
    torch.testing.assert_close(result.norms, truth.norms, rtol=1e-6, atol=0)


READS = {
    "halves": (lambda m, x: F.linear(x, m.w[:3]) * F.linear(x, m.w[3:]), True),
    "a gap": (lambda m, x: F.linear(x, m.w[:2]) * F.linear(x, m.w[4:]), True),
    "columns": (lambda m, x: F.linear(x[:, :2], m.w[:, :2]) * F.linear(x[:, 2:], m.w[:, 2:]), True),
    "transposed, then cut": (lambda m, x: (x[:, :2] @ m.w.t()[:2]) * (x[:, 2:] @ m.w[:, 2:].t()), True),
    "flipped, then cut": (lambda m, x: F.linear(x, m.w.flip(0)[:3]) * F.linear(x, m.w[:3]), True),
    "even and odd": (lambda m, x: F.linear(x, m.w[::2]) * F.linear(x, m.w[1::2]), True),
    "quarters": (
        lambda m, x: (
            F.linear(x[:, :2], m.w[:3, :2]) * F.linear(x[:, 2:4], m.w[3:, 2:4]) + F.linear(x[:, 2:4], m.w[:3, 2:4])
        ),
        True,
    ),
    "rows by number": (lambda m, x: F.linear(x, F.embedding(torch.arange(1, 5)[None], m.w)[0]), True),
    "rows by number, indexed": (lambda m, x: F.linear(x, m.w[torch.arange(0, 6, 2)]), True),
    "columns by number": (lambda m, x: x[:, :3] @ m.w.t().index_select(0, torch.arange(3)), True),
    "rows from behind": (lambda m, x: F.linear(x, m.w[torch.arange(-2, 2)]), True),
    "rows from behind, met again": (lambda m, x: F.linear(x, m.w[torch.arange(-2, 5)]), False),
    "rows by number, one of padding": (lambda m, x: F.linear(x, F.embedding(torch.arange(4), m.w, 0)), False),
    "rows by number, joined": (
        lambda m, x: F.linear(x, torch.cat([m.w[:2], m.w[torch.arange(3)]])),
        False,
    ),
    "overlapping by one": (lambda m, x: F.linear(x, m.w[:3]) * F.linear(x, m.w[2:5]), False),
    "flipped, overlapping": (lambda m, x: F.linear(x, m.w.flip(0)[:4]) + F.linear(x, m.w[:4]), False),
    "repeated": (lambda m, x: F.linear(x, m.w[:1].repeat(3, 1)), False),
    "squared": (lambda m, x: F.linear(x, m.w[:3] ** 2), False),
    "cast": (lambda m, x: F.linear(x, m.w.double()[:3].float()), False),
}


#: Neither the rows nor the columns of these lie one behind the other, nor does one op after the other repeat none.
NUMBERED_ALONE = ("even and odd", "quarters", "rows from behind")


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("limit", [2**24, 0])
def test_what_is_read_once_is_proven_whatever_the_size(name, limit, monkeypatch):
    """By the places along one dim, or where that does not tell by the numbers of all elements, if there are few."""
    monkeypatch.setattr(sys.modules[distinct.__module__], "NUMBERED", limit)
    forward, expected = READS[name]
    derived = derived_of(forward, r(4, 5), w=r(6, 5))
    assert bool(derived.functions.read_once) is (expected and (limit > 0 or name not in NUMBERED_ALONE))


def test_large_parameters_are_not_numbered_in_memory():
    """A packed weight of 2^28 elements, on no device: the proof takes the places along one dim."""
    weight, x = torch.empty(3 * 2**14, 5000, device="meta"), torch.empty(4, 5000, device="meta")
    derived = derived_of(lambda m, x: sum(F.linear(x, part) for part in m.w.chunk(3)), x, w=weight)
    assert len(derived.functions.read_once) == 1


def test_distinct_counts_every_element():
    """Within one value, and over several."""
    whole = torch.arange(6).view(2, 3)
    assert distinct([whole[0], whole[1]], 6)
    assert distinct([whole[:0], whole], 6)
    assert not distinct([whole, whole[1, 2:]], 6)
    assert not distinct([torch.tensor([1, 1])], 6)
