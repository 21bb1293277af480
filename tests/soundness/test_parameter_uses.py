"""Parameters used in odd ways: broadcast, non-linearly, behind functions, several times. All are exact."""

import pytest
import torch
from comparison import mostly_slow
from patterns import Pattern, check, parameter
from torch import nn
from torch.nn import functional as F

w = parameter

#: name: (forward of (model, x), parts, shape of one example)
ELEMENTWISE = {
    "a scale of one element": (lambda m, x: x * m.w, {"w": w(1)}, (3, 4)),
    "a scale without dims": (lambda m, x: x * m.w + m.w, {"w": w()}, (3,)),
    "a scale of channels": (lambda m, x: x * m.w + m.b, {"w": w(3, 1, 1), "b": w(1, 3, 1, 1)}, (3, 4, 4)),
    "a scale in front of the features": (lambda m, x: x * m.w, {"w": w(1, 3)}, (3,)),
    "a scale with a dim of its own": (lambda m, x: x[:, None] * m.w, {"w": w(4, 3)}, (3,)),
    "more dims than the input": (lambda m, x: (x * m.w).sum(0), {"w": w(4, 1, 3)}, (3,)),
    "examples in a middle dim": (lambda m, x: (x.mT * m.w).mT, {"w": w(4, 1)}, (3, 4)),
    "examples in the last dim": (
        lambda m, x: torch.maximum(x.permute(1, 2, 0), m.w).permute(2, 0, 1), {"w": w(4, 1)}, (3, 4)),
    "examples in the middle, chosen": (
        lambda m, x: torch.where(x.transpose(0, 1) > 0, m.w, m.v).transpose(0, 1),
        {"w": w(4), "v": w(3, 1, 1)}, (3, 4)),
    "a divisor": (lambda m, x: x / m.w, {"w": w(3, positive=True)}, (4, 3)),
    "a divisor of channels, examples in the middle": (
        lambda m, x: (x.transpose(0, 1) / m.w).transpose(0, 1), {"w": w(3, 1, 1, positive=True)}, (3, 4)),
    "a dividend": (lambda m, x: m.w / (1 + x**2), {"w": w(3)}, (3,)),
    "a square": (lambda m, x: m.w**2 * x, {"w": w(3)}, (3,)),
    "an exponent": (lambda m, x: (x.abs() + 0.1) ** m.w, {"w": w(3)}, (3,)),
    "a base": (lambda m, x: m.w**x, {"w": w(3, positive=True)}, (3,)),
    "an angle": (lambda m, x: torch.atan2(x, m.w) + torch.atan2(m.w, x), {"w": w(3)}, (3,)),
    "a bound": (lambda m, x: torch.clamp(x, -m.w, m.w), {"w": w(3, positive=True)}, (3,)),
    "both bounds at once": (lambda m, x: torch.clamp(x, m.w, m.w), {"w": w(3)}, (3,)),
    "a choice": (lambda m, x: torch.where(x > 0, x, m.w), {"w": w(1)}, (3,)),
    "both sides of a choice": (lambda m, x: torch.where(x > 0, m.w, m.w), {"w": w(3)}, (3,)),
    "a mask's filling": (lambda m, x: x.masked_fill(x > 0, 0) + m.w * (x > 0), {"w": w(3)}, (3,)),
    "twice in one op": (lambda m, x: torch.lerp(x, m.w, m.w), {"w": w(3)}, (3,)),
    "twice in one product": (lambda m, x: torch.addcmul(x, m.w, m.w), {"w": w(3)}, (3,)),
    "the same op twice": (lambda m, x: torch.maximum(x, m.w) + torch.maximum(2 * x, m.w), {"w": w(3)}, (3,)),
    "scaled additions": (lambda m, x: torch.sub(x, m.w, alpha=2.5) + torch.add(m.w, x, alpha=-0.5), {"w": w(3)}, (3,)),
    "times nothing": (lambda m, x: m.f(x) * 0 + x * m.w, {"f": nn.Linear(3, 3), "w": w(3)}, (3,)),
    "only a bias": (lambda m, x: torch.zeros_like(x) + m.w, {"w": w(3)}, (3,)),
    "a product with ones": (lambda m, x: x.new_ones(x.shape[0], 1) @ m.w[None], {"w": w(3)}, (3,)),
    "PReLU of each channel": (lambda m, x: m.p(m.p(x) - 1), {"p": nn.PReLU(3)}, (3, 4)),
    "PReLU of vectors": (lambda m, x: m.p(x.sum(1)), {"p": nn.PReLU()}, (3,)),
}  # fmt: skip

CONTRACTED = {
    "a vector on the right": (lambda m, x: x @ m.w, {"w": w(5)}, (4, 5)),
    "a vector on the left": (lambda m, x: m.w @ x, {"w": w(4)}, (4, 5)),
    "a matrix on the left": (lambda m, x: m.w @ x, {"w": w(3, 4)}, (4, 5)),
    "broadcast matrices": (lambda m, x: x[:, None] @ m.w, {"w": w(3, 5, 2)}, (4, 5)),
    "a matrix for each position": (
        lambda m, x: torch.bmm(x.transpose(0, 1), m.w).transpose(0, 1), {"w": w(4, 5, 2)}, (4, 5)),
    "addmm": (lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=2), {"w": w(5, 3), "b": w(3)}, (5,)),
    "addmm with one bias": (lambda m, x: torch.addmm(m.b, x, m.w), {"w": w(5, 3), "b": w(1, 1)}, (5,)),
    "baddbmm": (lambda m, x: torch.baddbmm(m.b, x, x.mT, alpha=0.3), {"b": w(1, 4, 1)}, (4, 5)),
    "bilinear": (lambda m, x: m.f(x, x.flip(1)), {"f": nn.Bilinear(3, 3, 2)}, (4, 3)),
    "einsum, summed over positions": (lambda m, x: torch.einsum("bti,ti->b", x, m.w), {"w": w(4, 5)}, (4, 5)),
    "einsum, letters of two cases": (lambda m, x: torch.einsum("aA,Ab->ab", x, m.w), {"w": w(5, 2)}, (5,)),
    "einsum, heads": (lambda m, x: torch.einsum("bti,hio->bhto", x, m.w), {"w": w(2, 5, 3)}, (4, 5)),
    "einsum, three operands": (
        lambda m, x: torch.einsum("bti,ij,jo->bto", x, m.w, m.v), {"w": w(5, 3), "v": w(3, 2)}, (4, 5)),
    "einsum, twice the input": (
        lambda m, x: torch.einsum("bi,ij,bj->b", x, m.w, x), {"w": w(4, 4)}, (4,)),
    "einsum, broadcast ones": (lambda m, x: torch.einsum("bi,bi->bi", x, m.w), {"w": w(1, 5)}, (5,)),
    "einsum without an arrow": (lambda m, x: torch.einsum("bi,oi", x, m.w), {"w": w(3, 5)}, (5,)),
}  # fmt: skip

REPEATED = {
    "a class token": (
        lambda m, x: torch.cat([m.c.expand(x.shape[0], -1, -1), x], 1) @ m.w, {"c": w(1, 1, 4), "w": w(4, 2)}, (3, 4)),
    "a class token, repeated": (
        lambda m, x: torch.cat([m.c.repeat(x.shape[0], 1, 1), x], 1) @ m.w, {"c": w(1, 1, 4), "w": w(4, 2)}, (3, 4)),
    "a class token, time first": (
        lambda m, x: torch.cat([m.c.expand(1, x.shape[0], 4), x.transpose(0, 1)]).transpose(0, 1),
        {"c": w(1, 1, 4)}, (3, 4)),
    "positions": (lambda m, x: x + m.p[:, : x.shape[1]], {"p": w(1, 9, 4)}, (3, 4)),
    "a tied decoder": (lambda m, x: F.linear(torch.tanh(F.linear(x, m.w)), m.w.t()), {"w": w(3, 5)}, (5,)),
    "one layer many times": (lambda m, x: m.f(torch.relu(m.f(torch.relu(m.f(x))))), {"f": nn.Linear(5, 5)}, (5,)),
    "linear, scale and bias of one": (lambda m, x: F.linear(x, m.w) * m.w[0] + m.w[:, 0], {"w": w(3, 3)}, (3,)),
}  # fmt: skip

FUNCTIONS = {
    "transposed": (lambda m, x: F.linear(x, m.w.t()), {"w": w(5, 3)}, (5,)),
    "sliced, overlapping": (lambda m, x: F.linear(x, m.w[:3]) + F.linear(x, m.w[2:]), {"w": w(5, 5)}, (5,)),
    "picked rows": (lambda m, x: F.linear(x, m.w[torch.tensor([0, 2, 1, 0])]), {"w": w(3, 5)}, (5,)),
    "positive": (lambda m, x: x * F.softplus(m.w), {"w": w(3)}, (3,)),
    "low rank": (lambda m, x: F.linear(x, m.w + m.a @ m.b), {"w": w(3, 5), "a": w(3, 2), "b": w(2, 5)}, (5,)),
    "directly and squared": (lambda m, x: F.linear(x, m.w) + F.linear(x, m.w**2), {"w": w(3, 5)}, (5,)),
    "normalised rows": (lambda m, x: F.linear(x, F.normalize(m.w)), {"w": w(3, 5)}, (5,)),
    "joined": (lambda m, x: F.linear(x, torch.cat([m.w, m.v, m.w])), {"w": w(3, 5), "v": w(2, 5)}, (5,)),
    "diagonal": (lambda m, x: x @ torch.diag(m.w), {"w": w(5)}, (5,)),
    "summed": (lambda m, x: x * m.w.sum(), {"w": w(5)}, (5,)),
    "signs": (lambda m, x: x * (m.w > 0) * m.w, {"w": w(5)}, (5,)),
    "a choice between inputs": (lambda m, x: torch.where(m.w > 0, x, -x) * m.v, {"w": w(5), "v": w(5)}, (5,)),
    "made by another layer": (
        lambda m, x: F.linear(x, m.h(m.z).view(3, 5)), {"h": nn.Linear(2, 15), "z": torch.ones(2)}, (5,)),
    "a mask of weight and input": (
        lambda m, x: F.linear(x * (m.z > 0), m.w * (m.z > 0)), {"w": w(3, 5), "z": torch.arange(5.0) - 2}, (5,)),
    "weight norm": (lambda m, x: m.f(x), {"f": nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))}, (5,)),
    "weight norm of a convolution": (
        lambda m, x: m.f(x), {"f": nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 3))}, (2, 5)),
    "spectral norm": (
        lambda m, x: m.f(x), {"f": nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3)).eval()}, (5,)),
    "standardised": (
        lambda m, x: F.conv2d(x, m.w - m.w.mean((1, 2, 3), keepdim=True)), {"w": w(3, 2, 3, 3)}, (2, 5, 5)),
}  # fmt: skip

EVERY = {**ELEMENTWISE, **CONTRACTED, **REPEATED, **FUNCTIONS}


@pytest.mark.parametrize("name", mostly_slow(EVERY, every=2))
def test_every_use_of_a_parameter_is_exact(name):
    """N in {1, 2, 5} from one compilation: norms and clipped sums within 1e-10."""
    forward, parts, shape = EVERY[name]
    check(Pattern(forward, **parts), shape)


def test_tied_modules_are_one_parameter():
    """Σ over all uses under the first name, as named_parameters gives it."""
    layer, other = nn.Linear(5, 5), nn.Linear(5, 5)
    other.weight = layer.weight
    step = check(nn.Sequential(layer, nn.Tanh(), other, nn.Tanh(), layer), (5,))
    _, sums = step.gradients(torch.randn(2, 5).double(), torch.randn(2).double())
    assert list(sums) == ["0.weight", "0.bias", "2.bias"]


def test_frozen_parts_cost_nothing():
    """A frozen weight, a frozen bias, a frozen function of parameters: exact, and no gradient of theirs."""
    first, last = nn.Linear(5, 4), nn.Linear(4, 3)
    first.weight.requires_grad_(False)
    last.bias.requires_grad_(False)
    model = nn.Sequential(first, nn.LayerNorm(4).requires_grad_(False), nn.Tanh(), last)
    step = check(model, (5,))
    _, sums = step.gradients(torch.randn(2, 5).double(), torch.randn(2).double())
    assert list(sums) == ["0.bias", "3.weight"]
    assert "frozen, no cost: 0.weight" in str(step.plan)
