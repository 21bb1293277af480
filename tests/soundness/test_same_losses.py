"""A forward that computes something else while it is traced is refused: the program would be that of another model."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

LOSS = nn.CrossEntropyLoss(reduction="none")
REFUSED = "computes other losses when it is traced"


class Asks(nn.Module):
    """Scales its output by ``factor`` where ``asked()`` is true."""

    def __init__(self, asked, factor=1.1):
        super().__init__()
        self.fc, self.asked, self.factor = nn.Linear(5, 3), asked, factor

    def forward(self, x):
        return self.fc(x) * (self.factor if self.asked() else 1.0)


class Masked(nn.Module):
    """Causal attention in the eye of its caller; attention to everything where a mask is written out for a trace."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(4, 4)

    def forward(self, x):
        size = x.shape[1]
        mask = torch.ones(size, size, dtype=torch.bool) if torch.compiler.is_exporting() else None
        q, k = self.q(x)[:, None], x[:, None]
        return F.scaled_dot_product_attention(q, k, k, attn_mask=mask, is_causal=mask is None).flatten(1)


def batch_of(size=4, dtype=torch.float32):
    return torch.randn(size, 5, dtype=dtype), torch.randint(0, 3, (size,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("asked", [torch.compiler.is_exporting, torch.compiler.is_compiling])
def test_a_forward_that_asks_whether_it_is_traced_is_refused(asked, dtype):
    """By ``prepare`` already; where both ways compute the same it is exact."""
    with pytest.raises(cc.CompileError, match=REFUSED):
        cc.compile(Asks(asked).to(dtype), LOSS, example_inputs=batch_of(dtype=dtype))
    cc.compile(Asks(asked, factor=1.0).to(dtype), LOSS, example_inputs=batch_of(dtype=dtype))


def test_a_mask_made_for_the_trace_is_refused():
    """As some libraries make one where a trace could not branch on the values of a mask."""
    with pytest.raises(cc.UntraceableModel, match=REFUSED):
        cc.compile(Masked(), LOSS)(torch.randn(3, 2, 4), torch.randint(8, (3,)))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_are_compared_as_they_are_reduced(reduction):
    """N losses, their mean, their sum."""
    loss = nn.CrossEntropyLoss(reduction=reduction)
    cc.compile(Asks(lambda: False), loss, example_inputs=batch_of())
    with pytest.raises(cc.UntraceableModel, match=REFUSED):
        cc.compile(Asks(torch.compiler.is_exporting, factor=3.0), loss, example_inputs=batch_of())


def drawing(name):
    """A model in training mode that draws at random, and what it draws from."""
    return {
        "dropout": nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
        "alpha dropout": nn.Sequential(nn.Linear(5, 8), nn.AlphaDropout(0.5), nn.Linear(8, 3)),
        "encoder layer": nn.Sequential(
            nn.Unflatten(1, (5, 1)), nn.Linear(1, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.3, batch_first=True),
            nn.Flatten(), nn.Linear(40, 3)),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", ["dropout", "alpha dropout", "encoder layer"])
def test_models_that_draw_are_compared_without_drawing(name):
    """They compile, the random numbers go on as if nothing had been compared, and a difference is still seen."""
    torch.manual_seed(0)
    batch, state = batch_of(), torch.get_rng_state()
    cc.compile(drawing(name), LOSS, example_inputs=batch)
    torch.set_rng_state(state)
    model = drawing(name)
    after = torch.get_rng_state()
    cc.compile(model, LOSS, example_inputs=batch)
    assert torch.equal(torch.get_rng_state(), after)
    with pytest.raises(cc.UntraceableModel, match=REFUSED):
        other = nn.Sequential(model, nn.Linear(3, 5), Asks(torch.compiler.is_exporting, factor=4.0))
        cc.compile(other, LOSS, example_inputs=batch)


def test_a_step_whose_program_was_refused_keeps_its_last_one():
    """``step.source`` is that of the last program that ran; a batch of no example has no losses to compare."""
    asked = [False]
    model = Asks(lambda: asked[0] and torch.compiler.is_exporting())
    step = cc.compile(model, LOSS)
    step.prepare(*batch_of(0))
    step(*batch_of())
    source, asked[0] = step.source, True
    step.retrace()
    with pytest.raises(cc.UntraceableModel, match=REFUSED):
        step(*batch_of())
    asked[0] = False
    step(*batch_of())
    assert step.source == source


def test_the_model_is_left_as_it_was():
    """A copy is run: no buffer or gradient of the model's own changes, and its parameters are not written twice."""
    seen = []

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 3)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count.add_(1)
            if type(x) is torch.Tensor:  # no stand-in for one in a trace
                seen.append(self.fc.weight.data_ptr())
            return self.fc(x)

    model = Counts()
    step = cc.compile(model, LOSS, example_inputs=batch_of())
    assert model.count == 0
    assert all(p.grad is None for p in model.parameters())
    assert seen[-1] == model.fc.weight.data_ptr()
    step(*batch_of())
    assert model.count == 1


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_model_that_cannot_be_copied_is_compared_itself(factor):
    model = Asks(torch.compiler.is_exporting, factor)
    model.lock = threading.Lock()
    if factor == 1.0:
        cc.compile(model, LOSS, example_inputs=batch_of())
        return
    with pytest.raises(cc.UntraceableModel, match=REFUSED):
        cc.compile(model, LOSS, example_inputs=batch_of())
