"""Every way to let one example read another is refused, with the user's own line and what to do instead."""

import inspect
import linecache
import re

import pytest
import torch
from mixing import OF_VALUES, REMEDIES
from patterns import Pattern, losses
from refusing import MIXING, code_of_mixing, numbers, refusal, refused, says
from table import PAGE, refused_row
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

#: Refused by the trace, which knows no op, or by a rule that is missing: with a line and a remedy all the same.
WITHOUT_OP = {"torch.export", "branch on the batch size"}


def assert_names_line(error, pattern):
    """The message holds the file, a line of the pattern and its text, and a remedy."""
    lines, first = inspect.getsourcelines(pattern)
    file = inspect.getsourcefile(pattern)
    assert error.origin.file == file and first <= error.origin.line < first + len(lines)
    text = linecache.getline(file, error.origin.line).strip()
    assert f"{file}:{error.origin.line}: {text}" in str(error)
    assert error.remedy and f"remedy: {error.remedy}" in str(error)


@pytest.mark.parametrize("name", MIXING)
def test_a_pattern_that_mixes_examples_is_refused(name):
    """The op, the dim that carries the examples, the user's line, a remedy; docs/soundness.md says the same."""
    row = refused_row(name)
    error = refusal(name)
    assert re.search(says(name), error.reason), str(error)
    assert re.search(REMEDIES.get(name, "."), error.remedy), str(error)
    assert error.origin.op in str(error)
    assert_names_line(error, code_of_mixing(name))
    assert row in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["softmax over the batch", "centring, x − x.mean(0)", "x @ xᵀ", "x + x[0]", "the batch size as a factor"]
)
def test_a_loss_that_mixes_examples_is_refused(name):
    """A loss function's line is named as a model's is."""
    pattern, message = OF_VALUES[name]
    error = refused(nn.Linear(5, 3).double(), lambda o, t: losses(pattern(o), t), (numbers(5), numbers()))
    assert isinstance(error, cc.ExamplesMixed) and re.search(message, error.reason)
    assert_names_line(error, pattern)


class Deep(nn.Module):
    """A mean over the batch in the first of several layers."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 4), nn.Linear(4, 3)
        self.encoder = nn.Sequential(Pattern(lambda m, x: x - x.mean(0)), nn.Tanh())

    def forward(self, x):
        return self.fc2(self.encoder(self.fc1(x)))


def test_a_refusal_names_the_module_and_the_path_to_the_loss():
    """The ops through which the value reaches the loss, with their modules; the middle of a long path left out."""
    loss_fn = nn.CrossEntropyLoss(reduction="none")
    error = refused(Deep(), loss_fn, (torch.randn(4, 5), torch.randint(3, (4,))))
    assert error.origin.module_path == "encoder.0"
    assert error.path == "mean (encoder.0) → sub (encoder.0) → tanh (encoder.1) → linear (fc2) → cross_entropy_loss"
    assert f"to the loss: {error.path}\n" in str(error)
    longer = nn.Sequential(Deep(), nn.Softplus(), nn.Linear(3, 3))
    error = refused(longer, loss_fn, (torch.randn(4, 5), torch.randint(3, (4,))))
    assert error.path.startswith("mean (0.encoder.0) → sub (0.encoder.0) → tanh (0.encoder.1) → … → ")
    assert error.path.endswith("… → linear (2) → cross_entropy_loss")


@pytest.mark.parametrize("scale", [lambda w, n: w / n, lambda w, n: w**n, lambda w, n: w * n**0.5])
def test_a_weight_scaled_by_the_batch_size_is_refused(scale):
    """Σ_i x_i W_oi / N: the batch size stands in an op that reads no example."""
    model = Pattern(
        lambda m, x: F.linear(m.f(x), scale(torch.ones(2, 3, dtype=x.dtype), x.shape[0])), f=nn.Linear(5, 3)
    )
    error = refused(model.double(), losses, (numbers(5), numbers()))
    assert isinstance(error, cc.ExamplesMixed) and "batch size" in error.reason
    assert_names_line(error, scale)


#: What no graph for every batch size expresses: refused by the trace, before any axis is looked at.
UNTRACEABLE = {
    "a branch on one example": lambda h: h * 2 if h.shape[0] == 1 else h,
    "a branch on few examples": lambda h: h * 2 if h.shape[0] < 4 else h,
    "a branch on an even batch": lambda h: h * 2 if h.shape[0] % 2 == 0 else h,
    "halves of the batch": lambda h: h.reshape(h.shape[0] // 2, 6),
    "an epsilon of the batch size": lambda h: F.layer_norm(h, (3,), None, None, 0.1 * h.shape[0]),
    "the values of a batch": lambda h: h * float(h.sum()),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_a_model_for_some_batches_only_is_refused(name):
    """Some refusal of the package, with a remedy: never a program, never a bare error."""
    model = Pattern(lambda m, x: UNTRACEABLE[name](m.f(x)), f=nn.Linear(5, 3)).double()
    assert refused(model, losses, (numbers(5), numbers())).remedy
