"""What is selected of a copy with its dims moved is selected of what was copied."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

import clipcompiler as cc
from clipcompiler.trace import trace
from clipcompiler.trace.moves import traced_back
from clipcompiler.trace.selected import to_one_select

aten = torch.ops.aten
X = torch.randn(3, 5, 6, dtype=torch.float64)


class Selected(nn.Module):
    """Rows of a linear layer's output, seen as [N, 5, 2, 3]."""

    def __init__(self, select):
        super().__init__()
        self.layer, self.select = nn.Linear(6, 6, dtype=torch.float64), select

    def forward(self, x):
        y = self.select(self.layer(x).reshape(-1, 5, 2, 3))
        return (y.tanh() * torch.arange(1.0, 1.0 + y[0].numel(), dtype=y.dtype).reshape(y.shape[1:])).flatten(1).sum(1)


#: Selections: whether the copy goes.
SELECTIONS = {
    "moved to the front": (lambda y: y.movedim(2, 0).clone()[1], True),
    "by an added dim": (lambda y: y.unsqueeze(0).transpose(0, -2).squeeze(-2).clone()[1], True),
    "counted from the end": (lambda y: y.transpose(2, 3).clone().select(-1, 0), True),
    "of what is not moved": (lambda y: y.clone().select(1, 2), True),
    "others in another order": (lambda y: y.permute(2, 0, 3, 1).clone()[1], False),
    "of an added dim": (lambda y: y.unsqueeze(1).clone()[:, 0], False),
    "behind a dim that is dropped": (lambda y: y[:, 1:2].squeeze(1).clone().select(1, 1), True),
}


@pytest.mark.parametrize(("select", "gone"), SELECTIONS.values(), ids=SELECTIONS)
def test_nothing_is_copied_to_select_of_it(select, gone):
    """And the norms stay those of one pass an example."""
    model = Selected(select)
    copies = [node for node in trace(model, None, (X,)).ops() if node.target is aten.clone.default]
    taken = any(user.target in (aten.select.int, aten.slice.Tensor) for node in copies for user in node.users)
    assert taken != gone
    assert cc.compile(model, chunk_size=2).verify(X) < 1e-12


@given(st.data())
def test_any_moves_select_what_the_copy_would(data):
    """Random chains of moves of a tensor, a copy, a row of it: the value stays, and no node is left that moves."""
    x = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    graph = fx.Graph()
    node, value = graph.placeholder("x"), x
    node.meta["val"] = x

    def call(target, *args):
        nonlocal node, value
        value = target(value, *args)
        node = graph.call_function(target, (node, *args))
        node.meta["val"] = value

    for _ in range(data.draw(st.integers(0, 4))):
        rank = value.dim()
        a, b = (data.draw(st.integers(-rank, rank - 1)) for _ in range(2))
        kind = data.draw(st.sampled_from(("transpose", "permute", "unsqueeze", "squeeze")))
        if kind == "transpose":
            call(aten.transpose.int, a, b)
        elif kind == "permute":
            call(aten.permute.default, data.draw(st.permutations(range(rank))))
        elif kind == "unsqueeze":
            call(aten.unsqueeze.default, a)
        elif value.shape[a] == 1:
            call(aten.squeeze.dim, a)
    whole, dims = traced_back(node)
    assert whole is next(iter(graph.nodes))
    assert [1 if of is None else x.shape[of] for of in dims] == list(value.shape)
    call(aten.clone.default)
    dim = data.draw(st.integers(-value.dim(), value.dim() - 1))
    call(aten.select.int, dim, data.draw(st.integers(-value.shape[dim], value.shape[dim] - 1)))
    graph.output(node)
    to_one_select(graph)
    assert torch.equal(fx.GraphModule(nn.Module(), graph)(x), value)
