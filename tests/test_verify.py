"""The oracle gives the gradients of one example alone, whatever a forward leaves behind and wherever it is called."""

import torch
from comparison import assert_exact
from torch import nn
from torch.nn.utils import parametrizations

import clipcompiler as cc
from clipcompiler.verify import oracle

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


class Kept(nn.Module):
    """A table of relative positions gathered once, and kept for the next forward: so timm does it in eval mode."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 5))
        self.kept = {}

    def forward(self, x):
        if "bias" not in self.kept:
            self.kept["bias"] = self.table.exp()[:, torch.arange(4, -1, -1)]
        return x @ self.kept["bias"].T


def test_what_a_forward_keeps_of_its_parameters_has_a_gradient_for_every_example():
    model, batch = Kept().double(), (torch.randn(4, 5).double(), torch.randint(3, (4,)))
    fresh = nn.Linear(5, 3, bias=False).double()
    with torch.no_grad():
        fresh.weight.copy_(model.table.exp().flip(1))
    factors = model.table.detach().exp()
    found, expected = oracle(model, CROSS_ENTROPY, batch), oracle(fresh, CROSS_ENTROPY, batch, max_grad_norm=1e9)
    torch.testing.assert_close(found.losses, expected.losses)
    step = cc.compile(model, CROSS_ENTROPY, max_grad_norm=1e9)
    assert_exact(step, batch)
    _, sums = step.gradients(*batch)
    torch.testing.assert_close(sums["table"], expected.gradients["weight"].flip(1) * factors)
    assert model.kept == {}, "a trace leaves nothing of its own in the model"


def test_the_oracle_computes_gradients_where_they_are_turned_off():
    model, batch = nn.Linear(5, 3), (torch.randn(4, 5), torch.randint(3, (4,)))
    with torch.no_grad():
        found = oracle(model, CROSS_ENTROPY, batch)
    expected = oracle(model, CROSS_ENTROPY, batch)
    torch.testing.assert_close(found.norms, expected.norms)
    assert float(found.norms.min()) > 0


def test_a_parametrised_recurrent_layer_is_verified_after_a_forward():
    """It keeps the weights of its last forward, which have a graph and cannot be copied."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = parametrizations.weight_norm(nn.LSTM(4, 3, batch_first=True), "weight_hh_l0")
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model, batch = Last().double(), (torch.randn(3, 5, 4).double(), torch.randint(2, (3,)))
    model(batch[0])
    step = cc.compile(model, CROSS_ENTROPY, max_grad_norm=1.0)
    assert step.verify(*batch) < 1e-10
