"""Weights that a parametrisation makes: torch's own, old and new, and the user's. All are exact."""

import pytest
import torch
from comparison import mostly_slow
from patterns import batch_of, check, losses
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import clipcompiler as cc
from clipcompiler.plan import Order


class Symmetric(nn.Module):
    """The upper triangle, mirrored."""

    def forward(self, weight):
        return weight.triu() + weight.triu(1).mT


class Rotation(nn.Module):
    """The exponential of a skew-symmetric matrix."""

    def forward(self, weight):
        upper = weight.triu(1)
        return torch.linalg.matrix_exp(upper - upper.mT)


class Transposed(nn.Module):
    """Wᵀ"""

    def forward(self, weight):
        return weight.mT


class LowRank(nn.Module):
    """A B, two parameters of one weight."""

    def forward(self, left, right):
        return left @ right

    def right_inverse(self, weight):
        return weight[:, :2].clone(), weight[:2].clone()


class Cached(nn.Module):
    """A weight that is made once for two calls."""

    def __init__(self):
        super().__init__()
        self.layer = parametrizations.weight_norm(nn.Linear(5, 5))

    def forward(self, x):
        with parametrize.cached():
            return self.layer(self.layer(x).tanh())


def registered(*made, layer=None, name="weight"):
    """A layer with parametrisations of one of its parameters."""
    layer = layer or nn.Linear(5, 5)
    for one in made:
        parametrize.register_parametrization(layer, name, one)
    return layer


def called_twice(layer):
    """The layer, and the same layer again."""
    return nn.Sequential(layer, nn.Tanh(), layer)


TOKENS, IMAGE, SERIES = (4, 5), (2, 5, 5), (2, 5)
new, old = parametrizations, nn.utils
#: name: (the model, shape of one example)
MODELS = {
    "weight norm": (lambda: new.weight_norm(nn.Linear(5, 3)), TOKENS),
    "weight norm of columns": (lambda: new.weight_norm(nn.Linear(5, 3), dim=1), TOKENS),
    "weight norm of the whole": (lambda: new.weight_norm(nn.Linear(5, 3), dim=None), TOKENS),
    "weight norm of a convolution": (lambda: new.weight_norm(nn.Conv2d(2, 3, 3)), IMAGE),
    "weight norm of a transposed convolution": (lambda: new.weight_norm(nn.ConvTranspose1d(2, 3, 3)), SERIES),
    "weight norm, called twice": (lambda: called_twice(new.weight_norm(nn.Linear(5, 5))), TOKENS),
    "weight norm, cached": (Cached, TOKENS),
    "old weight norm": (lambda: old.weight_norm(nn.Linear(5, 3)), TOKENS),
    "old weight norm of the whole": (lambda: old.weight_norm(nn.Linear(5, 3), dim=None), TOKENS),
    "old weight norm of a convolution": (lambda: old.weight_norm(nn.Conv1d(2, 3, 2)), SERIES),
    "spectral norm, eval": (lambda: new.spectral_norm(nn.Linear(5, 3)).eval(), TOKENS),
    "spectral norm, eval, called twice": (lambda: called_twice(new.spectral_norm(nn.Linear(5, 5)).eval()), TOKENS),
    "spectral norm of a vector": (lambda: new.spectral_norm(nn.LayerNorm(5)), TOKENS),
    "spectral norm": (lambda: new.spectral_norm(nn.Linear(5, 3)), TOKENS),
    "spectral norm, two layers": (
        lambda: nn.Sequential(new.spectral_norm(nn.Linear(5, 4)), nn.Tanh(), new.spectral_norm(nn.Linear(4, 3))),
        TOKENS,
    ),
    "spectral norm, two iterations": (lambda: new.spectral_norm(nn.Conv2d(2, 3, 3), n_power_iterations=2), IMAGE),
    "old spectral norm, eval": (lambda: old.spectral_norm(nn.Linear(5, 3)).eval(), TOKENS),
    "old spectral norm": (lambda: old.spectral_norm(nn.Linear(5, 3)), TOKENS),
    "old spectral norm of a convolution": (lambda: old.spectral_norm(nn.Conv2d(2, 3, 3)), IMAGE),
    "orthogonal": (lambda: new.orthogonal(nn.Linear(5, 5)), TOKENS),
    "orthogonal, no square": (lambda: new.orthogonal(nn.Linear(5, 3)), TOKENS),
    "orthogonal by reflections": (lambda: new.orthogonal(nn.Linear(5, 3), orthogonal_map="householder"), TOKENS),
    "orthogonal by Cayley": (lambda: new.orthogonal(nn.Linear(5, 5), orthogonal_map="cayley"), TOKENS),
    "orthogonal, no base": (lambda: new.orthogonal(nn.Linear(5, 5), use_trivialization=False), TOKENS),
    "symmetric": (lambda: registered(Symmetric()), TOKENS),
    "a rotation": (lambda: registered(Rotation()), TOKENS),
    "of low rank": (lambda: registered(LowRank()), TOKENS),
    "one after the other": (lambda: registered(Symmetric(), Rotation()), TOKENS),
    "a positive bias": (lambda: registered(nn.Softplus(), name="bias"), TOKENS),
}


@pytest.mark.parametrize("name", mostly_slow(MODELS, every=2))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parametrised_weights_are_exact(name):
    """N in {1, 2, 5} from one compilation: norms and clipped sums within 1e-10."""
    made, shape = MODELS[name]
    check(made(), shape)


def test_a_parametrisation_that_only_transposes_costs_nothing():
    """The original is used as any weight."""
    step = check(registered(Transposed()), TOKENS)
    assert step.plan["parametrizations.weight.original"].order in (Order.GRAM, Order.KEEP, Order.DISCARD)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", [name for name in MODELS if "spectral" in name])
def test_a_step_leaves_buffers_as_a_forward_does(name):
    """u and v of the power iteration, to the bit; in eval mode they stay."""
    made, shape = MODELS[name]
    model = made().double()
    before = {key: value.clone() for key, value in model.named_buffers()}
    batch = batch_of(3, shape)
    model(batch[0])
    expected = {key: value.clone() for key, value in model.named_buffers()}
    for key, value in model.named_buffers():
        value.copy_(before[key])
    cc.compile(model, losses)(*batch)
    torch.testing.assert_close(dict(model.named_buffers()), expected, rtol=0, atol=0)


def test_a_deep_copy_of_old_weight_norm_can_be_verified():
    """torch itself cannot copy the module."""
    model = old.weight_norm(nn.Linear(5, 3)).double()
    assert cc.compile(model, losses).verify(*batch_of(3, TOKENS)) < 1e-10
