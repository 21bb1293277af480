"""A product of which the examples are the rows multiplies once, not at every position apart, and copies nothing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.trace import trace
from clipcompiler.trace.moves import MOVING

aten = torch.ops.aten


class Product(nn.Module):
    """A product of what becomes of [N, 5, 4]."""

    def __init__(self, product, moved):
        super().__init__()
        self.product, self.moved = product, moved
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.float64))

    def forward(self, x):
        return self.product(self.moved(x.tanh()), self.weight).square()


X = torch.randn(3, 5, 4, dtype=torch.float64)
#: To x, put in a form that has dims to move, the rows of the product: the examples, or positions.
MOVES = {
    "transpose": (lambda x: x.transpose(0, 1), True),
    "counted from the end": (lambda x: x.transpose(-2, -3), True),
    "permute": (lambda x: x.permute(1, 0, 2), True),
    "by heads": (lambda x: x.reshape(-1, 5, 2, 2).repeat(1, 1, 1, 2).permute(1, 2, 0, 3), True),
    "last dim moved": (lambda x: x[:, :4].transpose(1, 2), False),
    "rows of positions": (lambda x: x.unsqueeze(1).transpose(1, 2).transpose(2, 1), False),
    "moved twice": (lambda x: x[:, :, None].transpose(0, 1).transpose(2, 1), True),
    "not moved": (lambda x: x, False),
}


@pytest.mark.parametrize("product", [F.linear, torch.matmul], ids=["linear", "matmul"])
@pytest.mark.parametrize(("moved", "ordered"), MOVES.values(), ids=MOVES)
def test_the_output_is_moved_where_examples_were_the_rows(product, moved, ordered):
    """And the norms stay those of one pass an example, at any number of examples at a time."""
    model = Product(product, moved)
    loss = (lambda y, _: y.flatten(1).sum(1)) if not ordered else by_example(moved)
    targets = [node.target for node in trace(model, loss, (X, X)).ops()]
    at = next(k for k, target in enumerate(targets) if target in (aten.linear.default, aten.matmul.default))
    assert (targets[at + 1] in MOVING) == ordered
    assert aten.contiguous.default not in targets
    step = cc.compile(model, loss, chunk_size=2)  # of three: two examples, then one
    assert step.verify(X, X) < 1e-12


def by_example(moved):
    """y with the examples anywhere → the loss of each."""
    dim = list(moved(torch.zeros(7, 5, 4)).shape).index(7)
    return lambda y, _: y.movedim(dim, 0).flatten(1).sum(1)


@pytest.mark.parametrize("attended", ["nothing", "weights"])
def test_attention_copies_none_of_its_inputs(attended):
    """``nn.MultiheadAttention`` of a batch whose first dim is the examples."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)

        def forward(self, x):
            y, weights = self.layer(x, x, x, need_weights=attended == "weights")
            return (y if weights is None else y * weights.sum((1, 2))[:, None, None]).square().flatten(1).sum(1)

    step = cc.compile(Attention())
    assert step.verify(X) < 1e-12
    before, _, after = step.source.partition("torch.unbind(layer_view, 2)")
    assert after and "torch.clone" not in before and ".contiguous()" not in before
