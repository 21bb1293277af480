"""By its place in the batch an example may look itself up, and do nothing else."""

import pytest
import torch
from comparison import mostly_slow
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.verify import oracle


class Indexed(nn.Module):
    """Hidden values [N, 4, 3] and the places [N], handed to a function."""

    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(5, 3).double()
        self.function = function
        self.register_buffer("table", torch.randn(9, 3).double())

    def forward(self, x):
        return self.function(self.fc(x), torch.arange(x.shape[0], device=x.device))


def losses(output, target):
    """One loss for each row."""
    return (output.flatten(1) - target[:, None]).square().mean(1)


def batch(size):
    """Tokens and a target."""
    return torch.randn(size, 4, 5).double(), torch.randn(size).double()


def last(h):
    """An index of each example's own."""
    return (h[..., 0] > 0).sum(1) - 1


OWN = {
    "as it is": lambda h, n: h[n],
    "beside another index": lambda h, n: h[n, last(h)],
    "the index after it": lambda h, n: h.transpose(0, 1)[last(h), n],
    "as a column": lambda h, n: h[n[:, None], (h[:, :2, 0] > 0).long()],
    "expanded and flattened": lambda h, n: h[n[:, None].expand(-1, 2).reshape(-1)].unflatten(0, (-1, 2)),
    "repeated": lambda h, n: h[n[:, None].repeat(1, 2)],
    "by an einsum that copies": lambda h, n: h[torch.einsum("n->n", n)],
    "cast to 32 bits and back": lambda h, n: h[n.int().long().clone().detach()],
    "times one": lambda h, n: h[n * 1],
    "selected": lambda h, n: h.index_select(0, n),
    "gathered": lambda h, n: h.gather(0, n[:, None, None].expand(-1, 4, 3)),
    "as an embedding": lambda h, n: F.embedding(n, h[:, 0]),
    "of zeros made for the examples": lambda h, n: h + torch.zeros(h.shape[0], 3).double()[n][:, None],
    "start and step": lambda h, n: h[torch.arange(0, h.shape[0], 1)],
    "its dim in the middle": lambda h, n: h.permute(1, 0, 2)[:, n].transpose(0, 1),
    "looked up twice": lambda h, n: h[n][n, last(h)],
}


@pytest.mark.parametrize("name", OWN)
def test_an_example_that_looks_itself_up_is_exact(name):
    """At every batch size, from one compilation."""
    model = Indexed(OWN[name])
    step = cc.compile(model, losses, example_inputs=batch(4))
    for size in (1, 2, 5):
        x, target = batch(size)
        step.max_grad_norm = float(oracle(model, losses, (x, target)).norms.median()) / 2
        assert step.verify(x, target) < 1e-10
    assert step.compilations == 1


OTHER = {
    "one more": lambda h, n: h[n + 1 - 1],
    "one less": lambda h, n: h[n - 1],
    "negative": lambda h, n: h[-n],
    "from one": lambda h, n: h[torch.arange(1, h.shape[0] + 1) - 1],
    "backwards": lambda h, n: h[torch.arange(h.shape[0] - 1, -1, -1)],
    "every second": lambda h, n: h[torch.arange(0, 2 * h.shape[0], 2) // 2],
    "flipped": lambda h, n: h[n.flip(0)],
    "rolled": lambda h, n: h[n.roll(1)],
    "sorted": lambda h, n: h[n.argsort()],
    "shuffled": lambda h, n: h[torch.randperm(h.shape[0])],
    "changed in place": lambda h, n: h[n.add_(1).sub_(1)],
    "written in place": lambda h, n: h[n.index_fill_(0, torch.tensor([0]), 1)],
    "masked in place": lambda h, n: h[n.clone().masked_fill_(h[:, 0, 0] > 0, 0)],
    "filled": lambda h, n: h[n.fill_(0)],
    "the first": lambda h, n: h[n[0]].expand_as(h),
    "the first, kept": lambda h, n: h[n[:1]].expand_as(h),
    "of the smaller": lambda h, n: h[n.clamp(max=1)],
    "of another example": lambda h, n: h[n[(h[:, 0, 0] > 0).long()]],
    "chosen": lambda h, n: h[torch.where(h[:, 0, 0] > 0, n, 0)],
    "summed by an einsum": lambda h, n: h[torch.einsum("nk->n", n[:, None].expand(-1, 2))],
    "joined features": lambda h, n: h[torch.cat([n[:, None], n[:, None] + 1], 1).sum(1)],
    "cast to a number": lambda h, n: h * n.to(h)[:, None, None],
    "cast to a number and back": lambda h, n: h[n.to(h).long()],
    "cast to 8 bits": lambda h, n: h[n.to(torch.uint8).long()],
    "counted in 8 bits": lambda h, n: h[torch.arange(h.shape[0], dtype=torch.uint8).long()],
    "counted in floats": lambda h, n: h[torch.arange(h.shape[0], dtype=torch.float64).long()],
    "as a weight": lambda h, n: h * n[:, None, None],
    "as a mask": lambda h, n: torch.where((n == 0)[:, None, None], h, -h),
    "one-hot": lambda h, n: h + F.one_hot(n % 3, 3)[:, None],
    "a dim of tokens": lambda h, n: h[:, n % 4].transpose(0, 1),
    "a table": lambda h, n: h + torch.ones(9, 3).double()[n][:, None],
    "an embedding": lambda h, n: h + F.embedding(n, torch.ones(9, 3).double())[:, None],
    "tokens of all examples": lambda h, n: h.flatten(0, 1)[n],
    "tokens of all examples, time first": lambda h, n: h.transpose(0, 1).flatten(0, 1)[n],
    "crossed with the examples": lambda h, n: h[n[None], last(h)[:, None]].sum(1),
    "two of them crossed": lambda h, n: h[n[:, None], :, 0][:, 0] + h[n[None], :, 0].sum((0, 1)),
    "as a target": lambda h, n: F.cross_entropy(h[:, 0], n % 3, reduction="none")[:, None],
    "by the scatter of itself": lambda h, n: torch.zeros_like(h).index_add(0, n.flip(0), h),
}


@pytest.mark.parametrize("name", mostly_slow(OTHER, every=2))
def test_any_other_use_of_a_place_is_refused(name):
    """With the line and a remedy."""
    function = OTHER[name]
    with pytest.raises(cc.CompileError) as caught:
        cc.compile(Indexed(function), losses, example_inputs=batch(4))
    assert caught.value.origin.line == function.__code__.co_firstlineno
    assert caught.value.remedy


def test_the_refusal_says_what_a_place_may_do():
    with pytest.raises(cc.ExamplesMixed, match="mul computes with the places of the examples") as caught:
        cc.compile(Indexed(OTHER["as a weight"]), losses, example_inputs=batch(4))
    assert "x[torch.arange(x.shape[0]), i]" in caught.value.remedy
