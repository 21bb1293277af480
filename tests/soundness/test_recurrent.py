"""Recurrent layers and cells, as they are: exact against one backward pass an example, or refused."""

import re

import pytest
import torch
from comparison import assert_exact, mostly_slow
from patterns import SIZES, Pattern, batch_of, check, losses, parameter
from torch import nn

import clipcompiler as cc
from clipcompiler.dsl import Operand, aligned, equation, indices, inside, out
from clipcompiler.plan import Order

T, I, H = 4, 3, 2
TANH, RELU = {"nonlinearity": "tanh"}, {"nonlinearity": "relu"}

#: (class, options): every kind of layer with one layer and several, both directions, biases or none, both layouts.
LAYERS = [
    (nn.RNN, TANH),
    (nn.RNN, RELU),
    (nn.RNN, {**TANH, "num_layers": 2, "bidirectional": True, "bias": False}),
    (nn.LSTM, {}),
    (nn.LSTM, {"bias": False}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": False}),
    (nn.LSTM, {"proj_size": 1}),
    (nn.LSTM, {"proj_size": 1, "num_layers": 2, "bidirectional": True, "bias": False}),
    (nn.GRU, {}),
    (nn.GRU, {"bias": False, "batch_first": False}),
    (nn.GRU, {"num_layers": 2, "bidirectional": True}),
]
KINDS = [(nn.RNN, TANH), (nn.RNN, RELU), (nn.LSTM, {}), (nn.LSTM, {"proj_size": 1}), (nn.GRU, {})]


def named(case):
    kind, options = case
    return " ".join([kind.__name__, *(f"{k}={v}" for k, v in options.items())])


def layer(case, **more):
    kind, options = case
    torch.manual_seed(0)
    return kind(I, H, **{"batch_first": True, **options, **more})


def sequences(m, x):
    """The outputs of all steps, [N, T, …]."""
    return m.r(x)[0] if m.r.batch_first else m.r(x.transpose(0, 1))[0].transpose(0, 1)


def states(m, x):
    """The last states of all layers and directions, [N, …], of an LSTM those of the cells too."""
    found = m.r(x if m.r.batch_first else x.transpose(0, 1))[1]
    return torch.cat([s.transpose(0, 1).flatten(1) for s in (found if isinstance(found, tuple) else (found,))], 1)


def everything(m, x):
    """Outputs and last states."""
    return torch.cat([sequences(m, x).flatten(1), states(m, x)], 1)


@pytest.mark.parametrize("case", mostly_slow(LAYERS, every=2), ids=named)
def test_every_output_of_a_layer(case):
    check(Pattern(everything, r=layer(case)), (T, I))


@pytest.mark.parametrize("case", mostly_slow(KINDS, every=2), ids=named)
@pytest.mark.parametrize("read", [sequences, states])
def test_some_outputs_of_a_layer(case, read):
    check(Pattern(read, r=layer(case, num_layers=2)), (T, I))


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_first_states(case):
    """Learned, computed from the example, and taken from another layer."""

    def forward(m, x):
        sizes = [s.shape[2] for s in as_tuple(m.r(x)[1])]
        learned = [v.expand(1, x.shape[0], k).contiguous() for v, k in zip((m.h, m.c), sizes, strict=False)]
        computed = [m.f(x[:, 0])[None, :, :k] + v for v, k in zip(learned, sizes, strict=True)]
        y, last = m.r(x, packed(computed))
        return torch.cat([y, m.r(x[:, 1:], last)[0]], 1)

    def as_tuple(value):
        return value if isinstance(value, tuple) else (value,)

    def packed(values):
        return tuple(values) if len(values) > 1 else values[0]

    size = layer(case).weight_hh_l0.shape[1]
    check(Pattern(forward, r=layer(case), f=nn.Linear(I, H), h=parameter(1, 1, size), c=parameter(1, 1, H)), (T, I))


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_one_step(case):
    check(Pattern(everything, r=layer(case)), (1, I))


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_by_grams_with_both_biases_folded_in(case):
    """Few steps of many features: the Gram of the gates' cotangents serves two matrices and two biases."""
    kind, options = case
    torch.manual_seed(0)
    options = {**options, "proj_size": 16} if "proj_size" in options else options
    step = check(Pattern(sequences, r=kind(20, 24, batch_first=True, **options)), (2, 20))
    orders = {c.name.removeprefix("r."): c.order for c in step.plan.choices}
    assert orders["weight_ih_l0"] == orders["weight_hh_l0"] == Order.GRAM
    assert orders["bias_ih_l0"] == orders["bias_hh_l0"] == Order.FOLDED
    one_tap = kind is not nn.GRU
    assert ("bias_ih_l0 and r.bias_hh_l0 folded in" in step.source) is one_tap


WEIGHTS = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
TRAINED = [
    *((case, some) for case in KINDS for some in ("all but weight_hh_l0", "none")),
    *(((nn.LSTM, {"proj_size": 1}), name) for name in (*WEIGHTS, "weight_hr_l0")),
    *(((nn.GRU, {}), name) for name in WEIGHTS),
]


@pytest.mark.parametrize(
    ("case", "trained"),
    mostly_slow(TRAINED, every=3, several=True),
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_a_part_of_the_parameters_is_trained(case, trained):
    """One parameter alone, all but one, none behind a trained layer."""
    r = layer(case)
    for name, p in r.named_parameters():
        p.requires_grad_(trained == name or (trained.startswith("all but") and name not in trained))
    check(Pattern(lambda m, x: m.r(m.f(x))[0], r=r, f=nn.Linear(I, I)), (T, I))


@pytest.mark.parametrize("case", [(nn.RNN, TANH), (nn.LSTM, {}), (nn.GRU, {})], ids=named)
def test_tied(case):
    """One layer called twice, a layer whose matrices are one, and one whose biases are one."""
    check(Pattern(lambda m, x: m.r(m.g(m.r(x)[0]))[0], r=layer(case), g=nn.Linear(H, I)), (T, I))
    torch.manual_seed(0)
    own = case[0](I, I, batch_first=True)
    own.weight_hh_l0 = own.weight_ih_l0
    check(Pattern(sequences, r=own), (T, I))
    own = case[0](I, I, batch_first=True)
    own.bias_hh_l0 = own.bias_ih_l0
    check(Pattern(sequences, r=own), (T, I))


@pytest.mark.parametrize(
    "cell", [nn.RNNCell(I, H), nn.RNNCell(I, H, nonlinearity="relu"), nn.LSTMCell(I, H), nn.GRUCell(I, H),
             nn.LSTMCell(I, H, bias=False), nn.GRUCell(I, H, bias=False)], ids=str)  # fmt: skip
def test_cells_in_a_loop(cell):
    def forward(m, x):
        state, seen = None, []
        for t in range(x.shape[1]):
            state = m.r(x[:, t], state)
            seen += state if isinstance(state, tuple) else [state]
        return torch.stack(seen, 1)

    check(Pattern(forward, r=cell), (3, I))


def test_a_loop_written_by_hand():
    def forward(m, x):
        h = x.new_zeros(x.shape[0], H)
        for t in range(x.shape[1]):
            h = torch.tanh(m.f(x[:, t]) + m.g(h))
        return h

    check(Pattern(forward, f=nn.Linear(I, H), g=nn.Linear(H, H)), (T, I))


@pytest.mark.parametrize("case", [(nn.RNN, RELU), (nn.LSTM, {}), (nn.GRU, {})], ids=named)
def test_sequences_of_an_example_side_by_side(case):
    """Several sequences an example, merged with the examples into one dim, before and behind them."""
    check(Pattern(lambda m, x: m.r(x.flatten(0, 1))[0].unflatten(0, (x.shape[0], 2)), r=layer(case)), (2, T, I))

    def behind(m, x):
        return m.r(x.transpose(0, 1).flatten(0, 1))[0].unflatten(0, (2, x.shape[0])).transpose(0, 1)

    check(Pattern(behind, r=layer(case)), (2, T, I))


@pytest.mark.parametrize("case", [(nn.RNN, RELU), (nn.LSTM, {"proj_size": 1}), (nn.GRU, {})], ids=named)
def test_a_layer_that_reads_no_example(case):
    """An encoder of learned prompts: its parameters lie behind a function of parameters."""

    def forward(m, x):
        return (m.r(m.prompts)[0] * m.f(x)[:, :, None, None]).flatten(1)

    check(Pattern(forward, r=layer(case), prompts=parameter(2, T, I), f=nn.Linear(I, 2)), (I,))


@pytest.mark.parametrize("case", KINDS, ids=named)
def test_dropout_between_layers(case):
    """The same draws as a model of two layers with a mask between them, which is exact."""
    torch.manual_seed(0)
    r = layer(case, num_layers=2, dropout=0.4, batch_first=False).double()
    model = Pattern(lambda m, x: m.r(x.transpose(0, 1))[0].transpose(0, 1), r=r)
    parts = []
    for k, size in enumerate((I, r.weight_hh_l0.shape[1])):
        part = case[0](size, H, **case[1]).double()
        part.load_state_dict({n.replace("l1", "l0"): v for n, v in r.state_dict().items() if f"l{k}" in n})
        parts.append(part)

    def masked(m, x):
        sequence, mask = x[:, :, :I].transpose(0, 1), x[:, :, I:].transpose(0, 1)
        return m.second(m.first(sequence)[0] * mask)[0].transpose(0, 1)

    with_mask = Pattern(masked, first=parts[0], second=parts[1])
    x, target = batch_of(5, (T, I))
    torch.manual_seed(7)
    mask = torch.dropout(x.new_ones(T, 5, r.weight_hh_l0.shape[1]), 0.4, True).transpose(0, 1)
    expected = cc.verify.oracle(with_mask, losses, (torch.cat([x, mask], 2), target), max_grad_norm=0.1)
    step = cc.compile(model.train(), losses, max_grad_norm=0.1, example_inputs=(x, target))
    torch.manual_seed(7)
    result, gradients = step.gradients(x, target)
    torch.testing.assert_close(result.norms, expected.norms, rtol=1e-10, atol=0)
    for name, gradient in gradients.items():
        own = name.replace("r.", "first." if "l0" in name else "second.").replace("l1", "l0")
        torch.testing.assert_close(gradient, expected.gradients[own], rtol=1e-9, atol=1e-12)
    assert (mask == 0).any()


def test_dropout_of_everything_and_in_eval_mode():
    torch.manual_seed(0)
    check(Pattern(sequences, r=nn.LSTM(I, H, 2, batch_first=True, dropout=1.0)), (T, I))
    step = check(Pattern(sequences, r=nn.LSTM(I, H, 2, batch_first=True, dropout=0.5)).eval(), (T, I))
    assert "dropout" not in step.source


def test_no_examples_and_layouts():
    model = Pattern(sequences, r=layer((nn.LSTM, {}))).double()
    step = cc.compile(model, losses)
    result, gradients = step.gradients(*batch_of(0, (T, I)))
    assert result.norms.shape == (0,)
    assert all((g == 0).all() for g in gradients.values())
    for size in SIZES:
        x, target = batch_of(size, (T, I))
        assert_exact(step, (x.permute(2, 1, 0).contiguous().permute(2, 1, 0), target))
        assert_exact(step, (x[:1].expand(size, T, I), target))


def test_single_precision():
    torch.manual_seed(0)
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        model = Pattern(sequences, r=kind(I, 16, 2, batch_first=True, bidirectional=True))
        x, target = batch_of(5, (12, I))
        step = cc.compile(model, losses, max_grad_norm=0.1)
        assert_exact(step, (x.float(), target.float()), torch.float32)


def test_units_of_several_examples():
    torch.manual_seed(0)
    model = Pattern(sequences, r=nn.LSTM(20, 24, batch_first=True)).double()
    x, target = batch_of(6, (2, 20))
    ids = torch.tensor([3, 1, 3, 7, 3, 1])
    step = cc.compile(model, losses, max_grad_norm=1e9)
    result, gradients = step.gradients(x, target, unit_ids=ids)
    for place, unit in enumerate((1, 3, 7)):
        total = losses(model(x[ids == unit]), target[ids == unit]).sum()
        own = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])
        torch.testing.assert_close(result.norms[place], own.norm(), rtol=1e-10, atol=0)
    truth = torch.autograd.grad(losses(model(x), target).sum(), list(model.parameters()))
    for gradient, expected in zip(gradients.values(), truth, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    pairs = cc.compile(model, losses, max_grad_norm=1e9, examples_per_unit=2)
    by_two = pairs.gradients(x, target)[0].norms
    torch.testing.assert_close(by_two, step.gradients(x, target, unit_ids=torch.arange(6) // 2)[0].norms)


def test_gradients_add_up_over_steps():
    """The biases have one sum, and each a tensor of its own."""
    model = Pattern(sequences, r=layer((nn.LSTM, {}))).double()
    batch = batch_of(5, (T, I))
    step = cc.compile(model, losses, max_grad_norm=0.1)
    _, once = step.gradients(*batch)
    for times in (1, 2, 3):
        step(*batch)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, times * once[name], rtol=1e-10, atol=1e-12)
    assert len({p.grad.data_ptr() for p in model.parameters()}) == 4
    scope = {"__name__": "clipped"}
    exec(step.source, scope)
    model.zero_grad()
    alone = scope["ClippedStep"](model, max_grad_norm=0.1)
    alone(*batch)
    alone(*batch)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, 2 * once[name], rtol=1e-10, atol=1e-12)


def test_an_initialised_layer_has_its_norm_clipped():
    torch.manual_seed(0)
    step = cc.compile(Pattern(sequences, r=layer((nn.GRU, {}))).double(), losses, max_grad_norm=1e-3)
    assert step.verify(*batch_of(5, (T, I))) < 1e-10


REFUSED = {
    "the batch as time": (lambda m, x: m.r(x)[0], {"batch_first": False}, (T, I), "lstm_layer over dim 0"),
    "the batch as time, without a batch": (lambda m, x: m.r(x)[0], {}, (I,), "lstm_layer over dim 0"),
    "the last states of other examples": (
        lambda m, x: m.r(x, tuple(s.roll(1, 1) for s in m.r(x)[1]))[0], {}, (T, I), "roll over dim 1"),
    "one state for all examples": (
        lambda m, x: m.r(x, tuple(s.mean(1, True).expand_as(s).contiguous() for s in m.r(x)[1]))[0],
        {}, (T, I), "mean over dim 1"),
    "packed sequences": (
        lambda m, x: nn.utils.rnn.pad_packed_sequence(
            m.r(nn.utils.rnn.pack_padded_sequence(x, torch.full((x.shape[0],), T), batch_first=True))[0], True)[0],
        {}, (T, I), r"packs sequences.*\n(.*\n)*.*padded batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    forward, options, shape, message = REFUSED[name]
    with pytest.raises(cc.CompileError, match=message):
        cc.compile(Pattern(forward, r=layer((nn.LSTM, options))).double(), losses)(*batch_of(5, shape))


def test_a_state_kept_for_the_next_batch_is_refused():
    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(I, H, batch_first=True)
            self.register_buffer("state", torch.zeros(1, 1, H))

        def forward(self, x):
            y, last = self.r(x, self.state.expand(1, x.shape[0], H).contiguous())
            self.state.copy_(last[:, -1:].detach())
            return y

    with pytest.raises(cc.ExamplesMixed, match=r"slice over dim 1|buffer state is updated from the whole batch"):
        cc.compile(Stateful().double(), losses)(*batch_of(5, (T, I)))


def test_a_packed_batch_is_refused():
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(T, 1, I), torch.tensor([1]))
    with pytest.raises(cc.InvalidBatch, match=r"packed sequences(.*\n)*.*padded batch"):
        cc.compile(Pattern(sequences, r=layer((nn.LSTM, {}))), losses)(packed, torch.randn(1))


def test_a_value_for_the_equations_alone_is_not_read():
    """The states before each step are an output of the op; the program returns them without a gradient."""

    def forward(m, x):
        return torch.ops.clipcompiler.rnn_layer(x.transpose(0, 1), None, m.a, m.b)[1].transpose(0, 1)

    with pytest.raises(cc.NoRule, match=r"output 1 of clipcompiler\.rnn_layer\.default is for the equations"):
        model = Pattern(forward, a=parameter(H, I), b=parameter(H, H))
        cc.compile(model, losses)(*batch_of(5, (T, I)))


def test_an_op_of_ones_own_with_a_parameter_inside():
    """h = h' + (1 − h'²) tanh(z), z = A x + B h': the rule states z, and the op adds its argument z to it."""

    def walk(x, A, B, *, z=None):
        h, seen, before = x.new_zeros(x.shape[1], B.shape[0]), [], []
        for t in range(x.shape[0]):
            before.append(h)
            h = h + (1 - h**2) * torch.tanh(x[t] @ A.T + h @ B.T + (0 if z is None else z[t]))
            seen.append(h)
        return torch.stack(seen), torch.stack(before)

    with torch.library._scoped_library("recurrent_test", "DEF") as library:
        library.define("walk(Tensor x, Tensor A, Tensor B, *, Tensor? z=None) -> (Tensor, Tensor)")
        library.impl("walk", walk, "CompositeImplicitAutograd")
        op = torch.ops.recurrent_test.walk.default
        t, n, i, j, g = indices("t n i j g")

        @cc.op_rule(op)
        def walk_rule(x, A, B, *, z=None):
            """z[t,n,g] = Σ_i x[t,n,i] A[g,i] + Σ_j h'[t,n,j] B[g,j]"""
            before = Operand("h'", (*x.shape[:2], B.shape[0]))
            states = aligned([], [(x, 1)], [])
            fed = equation(out[t, n, g], x[t, n, i] * A[g, i] + before[t, n, j] * B[g, j])
            return inside(states, states, returned={1: before}, z=fed)

        model = Pattern(
            lambda m, x: op(x.transpose(0, 1), m.a, m.b)[0].transpose(0, 1), a=parameter(2, I), b=parameter(2, 2)
        )
        step = cc.compile(model, losses, rules=cc.default_rules | cc.RuleSet([walk_rule]), max_grad_norm=0.1)
        assert step.verify(*batch_of(5, (T, I))) < 1e-10
        assert re.search(r"torch\.ops\.recurrent_test\.walk\.default\(transpose, a, b, z=\w+_z\)", step.source)
