"""x.to(x.dtype) is x: what a region without gradients hands through keeps its gradient."""

import pytest
import torch
from comparison import assert_exact
from torch import nn

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")
BATCH = torch.randn(5, 4, dtype=torch.float64), torch.randint(3, (5,))


class Region(nn.Module):
    """Two layers, and between them a region without gradients."""

    def __init__(self, region, *, returned=False):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)
        self.region, self.returned = region, returned

    def forward(self, x):
        h = self.a(x)
        with torch.no_grad():
            y = self.region(h)
        return self.b(y if self.returned else h) * (1 + y.mean(1, keepdim=True).detach())


CASTS = {
    "to its own dtype": lambda h: h.to(h.dtype),
    "double of a double": lambda h: h.double(),
    "twice": lambda h: h.to(h.dtype).to(h.device),
    "to its device": lambda h: h.to(h.device),
    "and computed with": lambda h: h.to(h.dtype).exp(),
    "a copy": lambda h: h.to(h.dtype, copy=True),
    "to another dtype": lambda h: h.float().double(),
    "a view": lambda h: h.view(-1, 4),
}


@pytest.mark.parametrize("returned", [False, True])
@pytest.mark.parametrize("region", CASTS)
def test_a_cast_to_nothing_else_keeps_the_gradient(region, returned):
    step = cc.compile(Region(CASTS[region], returned=returned).double(), LOSS)
    assert_exact(step, BATCH) if region != "to another dtype" else step.verify(*BATCH)


ITSELF = [
    lambda h: h.contiguous(),
    lambda h: h.flatten(1),
    torch.atleast_2d,
    lambda h: h.to(memory_format=torch.contiguous_format),
]


@pytest.mark.parametrize("region", ITSELF)
def test_another_function_that_returns_its_argument_is_refused(region):
    with pytest.raises(cc.UntraceableModel, match="hands a value with a gradient through a region without"):
        cc.compile(Region(region).double(), LOSS, example_inputs=BATCH)
