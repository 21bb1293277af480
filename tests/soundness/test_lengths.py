"""dynamic=: one program for every length of the batch, exact at each; what holds for some lengths only is refused."""

import pytest
import sympy
import torch
from comparison import assert_exact, median_norm, mostly_slow
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.trace.lengths import relation

LOSS = nn.CrossEntropyLoss(reduction="none")


def positions(*, features=8):
    """N, T → [N, T, features] and classes."""
    return lambda n, t: (torch.randn(n, t, features).double(), torch.randint(0, 3, (n,)))


def model_of(forward, **modules):
    """A model whose forward is a function of itself and x, with these modules and parameters."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in modules.items():
                setattr(self, name, value)

        def forward(self, x):
            return forward(self, x)

    return Model().double()


def encoder(*, batch_first):
    """A transformer encoder, the examples first or second."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def recurrent(kind):
    """Two layers in both directions."""
    return kind(8, 5, num_layers=2, bidirectional=True, batch_first=True)


POSITIONS = {
    "a linear layer": lambda: model_of(lambda m, x: m.h(m.a(x).tanh().mean(1)), a=nn.Linear(8, 8), h=nn.Linear(8, 3)),
    "rows of all examples": lambda: model_of(
        lambda m, x: m.h(m.a(x.reshape(-1, 8)).relu().reshape(x.shape[0], -1, 8).amax(1)),
        a=nn.Linear(8, 8),
        h=nn.Linear(8, 3),
    ),
    "an encoder": lambda: model_of(lambda m, x: m.h(m.e(x).mean(1)), e=encoder(batch_first=True), h=nn.Linear(8, 3)),
    "an encoder, time first": lambda: model_of(
        lambda m, x: m.h(m.e(x.transpose(0, 1)).mean(0)), e=encoder(batch_first=False), h=nn.Linear(8, 3)
    ),
    "LSTM": lambda: model_of(lambda m, x: m.h(m.r(x)[0].mean(1)), r=recurrent(nn.LSTM), h=nn.Linear(10, 3)),
    "GRU": lambda: model_of(lambda m, x: m.h(m.r(x)[0].mean(1)), r=recurrent(nn.GRU), h=nn.Linear(10, 3)),
    "RNN": lambda: model_of(lambda m, x: m.h(m.r(x)[0].mean(1)), r=recurrent(nn.RNN), h=nn.Linear(10, 3)),
    "a table of positions": lambda: model_of(
        lambda m, x: m.h((x + m.p[: x.shape[1]]).tanh().mean(1)), p=nn.Parameter(torch.randn(40, 8)), h=nn.Linear(8, 3)
    ),
    "an embedding of positions": lambda: model_of(
        lambda m, x: m.h((x + m.p(torch.arange(x.shape[1]))).tanh().mean(1)), p=nn.Embedding(40, 8), h=nn.Linear(8, 3)
    ),
    "a convolution": lambda: model_of(
        lambda m, x: m.h(m.c(x.transpose(1, 2)).relu().mean(2)), c=nn.Conv1d(8, 6, 3, padding=1), h=nn.Linear(6, 3)
    ),
    "a strided convolution": lambda: model_of(
        lambda m, x: m.h(m.c(x.transpose(1, 2)).relu().mean(2)), c=nn.Conv1d(8, 6, 2, stride=2), h=nn.Linear(6, 3)
    ),
    "scaled by the length": lambda: model_of(
        lambda m, x: m.h(m.a(x).tanh().sum(1) / x.shape[1] ** 0.5), a=nn.Linear(8, 8), h=nn.Linear(8, 3)
    ),
    "divided by twice the length": lambda: model_of(
        lambda m, x: m.h(torch.cat([x, m.a(x)], 1).sum(1) / (2 * x.shape[1]) - (x.shape[1] + 1)),
        a=nn.Linear(8, 8), h=nn.Linear(8, 3),
    ),
    "a norm of layers": lambda: model_of(lambda m, x: m.h(m.n(x).amax(1)), n=nn.LayerNorm(8), h=nn.Linear(8, 3)),
    "a bias of every position": lambda: model_of(
        lambda m, x: m.h((m.a(x) + m.b.expand(x.shape[1], 8)).tanh().mean(1)),
        a=nn.Linear(8, 8), b=nn.Parameter(torch.randn(8)), h=nn.Linear(8, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(POSITIONS, 3))
def test_one_program_is_exact_for_every_length(name):
    """Lengths below, at and above that of the first batch; one position (of two a stride leaves one) has its own."""
    torch.manual_seed(0)
    model, batch = POSITIONS[name](), positions()
    step = cc.compile(model, LOSS, max_grad_norm=median_norm(model, LOSS, batch(4, 12)), dynamic={"x": {1: "T"}})
    for n, t in ((4, 12), (2, 7), (1, 31), (5, 2), (3, 12)):
        assert_exact(step, batch(n, t))
    shortest = 2 if "strided" in name else 1
    assert step.compilations == shortest
    assert_exact(step, batch(2, shortest))
    assert step.compilations == 2


class Language(nn.Module):
    """Tokens → scores of the next ones: one block of attention, its three projections apart, and a tied head."""

    def __init__(self, width=48, vocabulary=90, longest=64):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down, self.norm = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.LayerNorm(width)

    def forward(self, tokens):
        n, t = tokens.shape
        h = self.norm(self.tokens(tokens) + self.places(torch.arange(t)))
        q, k, v = (layer(h).reshape(n, t, 2, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = h + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, -1))
        return F.linear(h + self.down(F.gelu(self.up(h))), self.tokens.weight)


def by_token(output, target):
    """The mean over the tokens of an example."""
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(1)


def tokens(n, t):
    """N rows of T tokens, and the next ones."""
    return torch.randint(0, 90, (n, t)), torch.randint(0, 90, (n, t))


T = {"tokens": {1: "T"}, "target": {1: "T"}}
WAYS = {
    "as planned": {},
    "book-keeping": {"strategy": "bookkeeping"},
    "reweight": {"strategy": "reweight"},
    "in chunks": {"chunk_size": 2},
    "lean": {"memory": "lean"},
    "per layer": {"clipping": cc.PerLayer()},
    "units": {"examples_per_unit": 2},
}


@pytest.mark.parametrize("way", mostly_slow(WAYS, 3))
def test_a_language_model_is_exact_for_every_length_in_every_way(way):
    """On both sides of the lengths at which orders change."""
    torch.manual_seed(1)
    model, options = Language().double(), WAYS[way]
    step = cc.compile(model, by_token, max_grad_norm=0.3, dynamic=T, **options)
    for n, t in ((4, 6), (2, 60), (6, 2), (2, 33)):
        assert step.verify(*tokens(n, t)) <= 1e-10
    assert step.compilations == 1
    assert " <= " in step.source


@pytest.mark.slow
def test_units_given_at_call_time_are_exact_for_every_length():
    """Their members are a letter too."""
    torch.manual_seed(1)
    model = Language().double()
    step = cc.compile(model, by_token, max_grad_norm=0.3, dynamic=T)
    for n, t in ((5, 6), (3, 60)):
        assert step.verify(*tokens(n, t), unit_ids=torch.arange(n) // 2) <= 1e-10
    assert step.compilations == 1


@pytest.mark.parametrize("name", ["a table of positions", "an embedding of positions"])
def test_the_first_rows_of_a_table_are_its_gradient_whatever_the_length(name):
    """No gradient of the rows behind T is formed for any example."""
    step = cc.compile(POSITIONS[name](), LOSS, dynamic={"x": {1: "T"}}, example_inputs=positions()(4, 12))
    assert "is_grads_batched" not in step.source
    assert "every element is in" in str(step.plan)


def test_the_longest_is_read_off_the_model():
    """A longer batch is compiled as it is, and fails as the model does."""
    model = POSITIONS["a table of positions"]()
    step = cc.compile(model, LOSS, dynamic={"x": {1: "T"}})
    assert_exact(step, positions()(2, 40))
    (length,) = step.plan.derived.axes.traced.lengths
    assert length.most == 40
    with pytest.raises(cc.UntraceableModel, match="must match the size"):
        step(*positions()(2, 41))


def test_several_lengths_have_letters_of_their_own():
    """Pixels: height and width."""
    model = model_of(lambda m, x: m.h(m.c(x).relu().mean((2, 3))), c=nn.Conv2d(3, 4, 3, padding=1), h=nn.Linear(4, 3))
    step = cc.compile(model, LOSS, max_grad_norm=0.5, dynamic={"x": {2: "H", 3: "W"}})
    for height, width in ((8, 8), (9, 5), (4, 20)):
        assert_exact(step, (torch.randn(3, 3, height, width).double(), torch.randint(0, 3, (3,))))
    assert step.compilations == 1


REFUSED = {
    "a mean over the examples": (lambda m, x: m.h((x - x.mean(0)).mean(1)), cc.ExamplesMixed, "mean over dim 0"),
    "examples and positions exchanged": (
        lambda m, x: m.h(x.reshape(x.shape[1], x.shape[0], 8).transpose(0, 1).mean(1)), cc.CompileError, "T",
    ),
    "a branch on the length": (
        lambda m, x: m.h(x.mean(1) if x.shape[1] > 20 else x.sum(1)), cc.UntraceableModel, "branches on .* length",
    ),
    "a branch on both": (
        lambda m, x: m.h(x.mean(1) if x.shape[0] * x.shape[1] > 200 else x.sum(1)), cc.UntraceableModel, "branches on",
    ),
    "a loop over positions": (
        lambda m, x: sum(m.h(v) for v in x.unbind(1)), cc.UntraceableModel, "works only where the length T is",
    ),
    "a fixed length": (lambda m, x: m.w(x.flatten(1)), cc.CompileError, "length T|shape|size"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_for_some_lengths_only_is_refused(name):
    """And so is what mixes examples, whatever the length."""
    forward, error, match = REFUSED[name]
    model = model_of(forward, h=nn.Linear(8, 3), w=nn.Linear(96, 3))
    with pytest.raises(error, match=match):
        cc.compile(model, LOSS, dynamic={"x": {1: "T"}}, example_inputs=positions()(4, 12))


def test_a_condition_that_fails_is_told_as_python_writes_it():
    """Of torch's relations, and of truths that are none."""
    length, examples = sympy.symbols("T N", positive=True, integer=True)
    assert relation(sympy.Ne(length, examples)) == "T != N"
    assert relation(sympy.Ge(length, 2 * examples)) == "T >= 2*N"
    assert relation(sympy.Or(sympy.Ne(length, 3), sympy.Eq(examples, 1))).count("|") == 1


def test_one_letter_is_one_size():
    """Two inputs that call their lengths alike."""
    step = cc.compile(Language().double(), by_token, dynamic=T)
    with pytest.raises(cc.InvalidBatch, match="the length T is 5 in tokens, 4 in target"):
        step(torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"tokens": {0: "T"}}, "the first are the examples"),
        ({"tokens": {1: "N"}}, "give a letter such as 'T'"),
        ({"tokens": {1: "not one"}}, "give a letter such as 'T'"),
        ({"tokens": {1: 7}}, "give a letter such as 'T'"),
    ],
)
def test_what_names_no_length_is_refused(given, match):
    """Before anything is traced."""
    with pytest.raises(ValueError, match=match):
        cc.compile(Language(), by_token, dynamic=given)


def test_an_input_that_there_is_not_is_refused():
    """With the names that there are."""
    step = cc.compile(Language(), by_token, dynamic={"words": {1: "T"}})
    with pytest.raises(cc.InvalidBatch, match="dynamic names 'words'"):
        step(*tokens(2, 5))
    step = cc.compile(Language(), by_token, dynamic={"tokens": {2: "T"}})
    with pytest.raises(cc.InvalidBatch, match="a dim T that tokens does not have"):
        step(*tokens(2, 5))
