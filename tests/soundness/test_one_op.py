"""Parameters in ops that no equation is known for: the vjp of the one op, held against a loop over examples."""

import pytest
import torch
from comparison import assert_exact
from patterns import Pattern, batch_of, check, losses, parameter
from torch import Tensor, nn
from torch.nn import functional as F

import clipcompiler as cc
from clipcompiler.dsl import aligned, mixes, op_rule
from clipcompiler.verify import oracle, relative, relative_sums


def regular(size):
    """A trained matrix that has an inverse."""
    return nn.Parameter(4 * torch.eye(size).double() + torch.rand(size, size).double())


def words(x):
    """Whole numbers from 0 to 6."""
    return (3 * x.abs()).long().clamp(max=6)


def written(x, places, tokens):
    """x with tokens at some places."""
    y = x.clone()
    y[:, places] = tokens
    return y


PATTERNS = {
    "centroids": (lambda m, x: torch.cdist(x, m.w), (3, 4), {"w": parameter(5, 4)}),
    "centroids of rows": (lambda m, x: torch.cdist(x, m.w, p=1), (4,), {"w": parameter(5, 4)}),
    "a trained system": (lambda m, x: torch.linalg.solve(m.w, x[..., None])[..., 0], (4,), {"w": regular(4)}),
    "a trained triangle": (
        lambda m, x: torch.linalg.solve_triangular(m.w.triu(), x, upper=True, left=False),
        (3, 4),
        {"w": regular(4)},
    ),
    "a trained right side": (
        lambda m, x: torch.linalg.solve(x.exp() + m.one, m.w[None]),
        (3, 3),
        {"w": parameter(3, 2), "one": 5 * torch.eye(3).double()},
    ),
    "learned keys and values": (
        lambda m, x: F.scaled_dot_product_attention(x, m.k, m.v),
        (2, 3, 4),
        {"k": parameter(1, 2, 5, 4), "v": parameter(1, 2, 5, 4)},
    ),
    "the same weight as keys and values": (
        lambda m, x: F.scaled_dot_product_attention(x, m.k, m.k),
        (2, 3, 4),
        {"k": parameter(1, 2, 5, 4)},
    ),
    "a learned mask": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, attn_mask=m.w),
        (2, 3, 4),
        {"w": parameter(3, 3)},
    ),
    "a mask that changes nothing": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, attn_mask=m.w) + m.v,
        (2, 3, 4),
        {"w": parameter(1, 1), "v": parameter(4)},
    ),
    "attention over time-major rows": (
        lambda m, x: F.scaled_dot_product_attention(x.transpose(0, 1), m.k, m.k + 1).transpose(0, 1),
        (2, 3, 4),
        {"k": parameter(1, 5, 4)},
    ),
    "attention over merged heads": (
        lambda m, x: F.scaled_dot_product_attention(x.flatten(0, 1), m.k, m.k.exp()).view(-1, 2, 3, 4),
        (2, 3, 4),
        {"k": parameter(1, 5, 4)},
    ),
    "heads before the examples": (
        lambda m, x: (
            F.scaled_dot_product_attention(x.transpose(0, 1).flatten(0, 1), m.k, m.k.exp())
            .view(2, -1, 3, 4)
            .transpose(0, 1)
        ),
        (2, 3, 4),
        {"k": parameter(1, 5, 4)},
    ),
    "a trained table": (lambda m, x: F.embedding(words(x), m.w), (3,), {"w": parameter(7, 2)}),
    "a table of biases": (lambda m, x: m.w[:, words(x)].permute(1, 2, 0), (3,), {"w": parameter(2, 7)}),
    "a gathered weight": (lambda m, x: m.w.index_select(0, words(x)), (), {"w": parameter(7, 3)}),
    "tokens put at places": (
        lambda m, x: written(x, m.ids, m.w),
        (3, 4),
        {"w": parameter(2, 4), "ids": torch.tensor([2, 0])},
    ),
    "a cross product": (lambda m, x: torch.linalg.cross(x, m.w), (2, 3), {"w": parameter(1, 1, 3)}),
    "a similarity": (lambda m, x: F.cosine_similarity(x, m.w, dim=-1), (2, 3), {"w": parameter(1, 1, 3)}),
    "a bilinear form": (
        lambda m, x: F.bilinear(x, x.exp(), m.w, m.b),
        (3,),
        {"w": parameter(2, 3, 3), "b": parameter(2)},
    ),
    "also used elsewhere": (
        lambda m, x: torch.cdist(F.linear(x, m.w), m.w) * m.w[0, 0],
        (3, 4),
        {"w": parameter(4, 4)},
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_exact(name):
    """At one, two and five examples, with some clipped."""
    function, shape, parts = PATTERNS[name]
    check(Pattern(function, **parts), shape)


@pytest.mark.parametrize("name", ["learned keys and values", "attention over merged heads", "also used elsewhere"])
def test_exact_for_units(name):
    """Consecutive examples, and units of any size known at call time; a batch of none."""
    function, shape, parts = PATTERNS[name]
    model, batch = Pattern(function, **parts).double(), batch_of(6, shape)
    for given, ids in (({"examples_per_unit": 3}, {}), ({}, {"unit_ids": torch.tensor([4, 1, 1, 4, 7, 1])})):
        step = cc.compile(model, losses, max_grad_norm=2.0, **given)
        result, sums = step.gradients(*batch, **ids)
        truth = oracle(model, losses, batch, max_grad_norm=2.0, **given, **ids)
        assert relative(result.norms, truth.norms) <= 1e-10
        assert relative_sums(sums, truth.gradients) <= 1e-10
        result, sums = step.gradients(*batch_of(0, shape), **{k: v[:0] for k, v in ids.items()})
        assert result.norms.shape == (0,)
        assert not any(g.any() for g in sums.values())


@torch.library.custom_op("ladder::gates", mutates_args=())
def gates(x: Tensor, weight: Tensor, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two outputs, by numpy: nothing that vmap could look into."""
    rows, own = x.detach().cpu().numpy(), weight.detach().cpu().numpy()
    return torch.as_tensor(rows @ own + shift), torch.as_tensor(rows.sum(-1, keepdims=True) * own.sum(0))


@gates.register_fake
def _(x, weight, shift=0.0):
    made = x.new_empty(*x.shape[:-1], weight.shape[1])
    return made, torch.empty_like(made)


def save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


def backward(ctx, first, second):
    x, weight = ctx.saved_tensors
    along = x.sum(-1, keepdim=True)
    grad_x = first @ weight.T + (second * weight.sum(0)).sum(-1, keepdim=True)
    grad_weight = torch.einsum("...i,...o->io", x, first) + (along * second).flatten(0, -2).sum(0)
    return grad_x, grad_weight, None


gates.register_autograd(backward, setup_context=save)


@op_rule(torch.ops.ladder.gates.default)
def gates_rule(x, weight, shift=0.0):
    """y[n,s], z[n,s] = f(x[n,s,:], W)"""
    return mixes(x, [-1])


@op_rule(torch.ops.ladder.gates.default)
def rule_that_mixes_rows(x, weight, shift=0.0):
    """y[:,:,o] = f(x, W)"""
    return mixes(x, [0, -1])


@torch.library.custom_op("ladder::centred", mutates_args=())
def centred(x: Tensor, weight: Tensor) -> Tensor:
    """(x − its mean over all rows) W: no row has an output of its own."""
    return (x - x.mean(0)) * weight


centred.register_fake(lambda x, weight: torch.empty_like(x))
centred.register_autograd(
    lambda ctx, y: ((y - y.mean(0)) * ctx.weight, (y * (ctx.x - ctx.x.mean(0))).sum(0)),
    setup_context=lambda ctx, inputs, output: (setattr(ctx, "x", inputs[0]), setattr(ctx, "weight", inputs[1])),
)


@op_rule(torch.ops.ladder.centred.default)
def untrue_rule(x, weight):
    """y[n,i] = f(x[n,i], W)"""
    return aligned(*([(x, d)] for d in range(x.ndim)))


def first_and_second(m, x):
    """Both outputs are used."""
    y, z = torch.ops.ladder.gates(x, m.w, 0.5)
    return y.sin() * z


GATED = {
    "both outputs": first_and_second,
    "the second alone": lambda m, x: torch.ops.ladder.gates(x, m.w)[1].sin(),
    "the first twice": lambda m, x: (lambda y: y[0].sin() * y[0])(torch.ops.ladder.gates(x, m.w)),
    "time-major rows": lambda m, x: first_and_second(m, x.transpose(0, 1)).transpose(0, 1),
    "merged rows": lambda m, x: first_and_second(m, x.flatten(0, 1)).view(-1, 3, 5),
    "merged rows, time first": lambda m, x: (
        first_and_second(m, x.transpose(0, 1).flatten(0, 1)).view(3, -1, 5).transpose(0, 1)
    ),
    "a function of parameters": lambda m, x: torch.ops.ladder.gates(x, m.w.exp() @ m.v)[0] @ m.v,
}


@pytest.mark.parametrize("name", GATED)
def test_an_op_of_ones_own_whose_rule_states_no_equation(name):
    """Its backward is torch's business; an example after the other, where vmap cannot look into the op."""
    model = Pattern(GATED[name], w=parameter(4, 5), v=parameter(5, 5)).double()
    step = cc.compile(model, losses, rules=cc.default_rules | cc.RuleSet([gates_rule]))
    for size in (0, 1, 2, 5):
        assert_exact(step, batch_of(size, (3, 4)))
    assert "each_by_loop(" in step.source
    assert "vjp[n" in str(step.plan)


def test_vmap_is_used_where_torch_has_it():
    function, shape, parts = PATTERNS["centroids"]
    step = cc.compile(Pattern(function, **parts), losses, example_inputs=batch_of(2, shape))
    assert "each_by_vmap(" in step.source
    assert "vmap of its vjp" in step.plan["w"].why
    assert "vjp[n" in str(step.derivation("w"))


@pytest.mark.parametrize(
    ("rule", "op", "error", "message"),
    [
        (rule_that_mixes_rows, "gates", cc.ExamplesMixed, "gates over dim 0"),
        (untrue_rule, "centred", cc.ExamplesMixed, "do not add up to that of both"),
    ],
)
def test_an_op_whose_examples_are_not_apart_is_refused(rule, op, error, message):
    calls = {
        "gates": lambda m, x: torch.ops.ladder.gates(x, m.w)[0],
        "centred": lambda m, x: torch.ops.ladder.centred(x, m.v),
    }
    model = Pattern(calls[op], w=parameter(4, 5), v=parameter(4)).double()
    with pytest.raises(error, match=message):
        cc.compile(model, losses, rules=cc.default_rules | cc.RuleSet([rule]), example_inputs=batch_of(3, (4,)))


MIXED = {
    "a softmax over the batch": lambda m, x: torch.softmax(torch.cdist(x, m.w, p=1), 0),
    "keys of all examples": lambda m, x: x * F.scaled_dot_product_attention(m.w, x, x).sum(),
    "tokens put over examples": lambda m, x: written(x.T, torch.tensor([0, 1]), m.w[:, :1]).T,
}


@pytest.mark.parametrize("name", MIXED)
def test_a_parameter_in_an_op_over_examples_is_refused(name):
    with pytest.raises(cc.ExamplesMixed):
        cc.compile(Pattern(MIXED[name], w=parameter(2, 4)).double(), losses, example_inputs=batch_of(3, (4,)))


def test_a_backward_that_reads_the_whole_batch_is_refused():
    """It divides the gradient of each row by the number of its occurrences in the batch."""
    counted = lambda m, x: F.embedding(words(x), m.w, scale_grad_by_freq=True)  # noqa: E731
    with pytest.raises(cc.NoRule, match="scale_grad_by_freq divides a gradient by how often the whole batch"):
        cc.compile(Pattern(counted, w=parameter(7, 2)).double(), losses, example_inputs=batch_of(2, (3,)))


def test_a_sparse_embedding_is_given_a_dense_gradient():
    """Noise would fill it anyway."""
    sparse = lambda m, x: F.embedding(words(x), m.w, sparse=True)  # noqa: E731
    model = Pattern(sparse, w=parameter(7, 2)).double()
    step = cc.compile(model, losses, max_grad_norm=0.5)
    for size in (1, 2, 5):
        assert_exact(step, batch_of(size, (3,)))
    step(*batch_of(2, (3,)))
    assert model.w.grad.layout is torch.strided


def test_random_draws_are_refused():
    """One example alone would draw other numbers."""
    attend = lambda m, x: F.scaled_dot_product_attention(x, m.k, m.k, dropout_p=0.5)  # noqa: E731
    with pytest.raises(cc.NoRule, match="draws at random"):
        cc.compile(Pattern(attend, k=parameter(1, 5, 4)).double(), losses, example_inputs=batch_of(2, (3, 4)))


@pytest.mark.parametrize("name", ["learned keys and values", "centroids", "heads before the examples"])
def test_a_saved_program_runs_by_itself(name, tmp_path):
    """It carries its helpers with it, by vmap and by a loop; bit-equal."""
    function, shape, parts = PATTERNS[name]
    model, batch = Pattern(function, **parts).double(), batch_of(4, shape)
    step = cc.compile(model, losses, example_inputs=batch)
    expected, sums = step.gradients(*batch)
    scope = {}
    exec(step.save(tmp_path / "clipped.py").read_text(encoding="utf-8"), scope)
    model.zero_grad()
    _, norms, _ = scope["ClippedStep"](model)(*batch)
    assert torch.equal(norms, expected.norms)
    assert all(torch.equal(p.grad, sums[n]) for n, p in model.named_parameters())


def test_a_trial_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    function, shape, parts = PATTERNS["a learned mask"]
    cc.compile(Pattern(function, **parts), losses).prepare(*(torch.zeros(2, *shape).double(), torch.zeros(2).double()))
    assert torch.equal(state, torch.get_rng_state())
