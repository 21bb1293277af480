"""A step notices when the model or the kind of batch changes beneath it, and compiles again: never a stale program."""

import pytest
import torch
from comparison import assert_exact
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import clipcompiler as cc


class Net(nn.Module):
    """Two layers, a dropout, a buffer, a plain tensor and a number."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 5), nn.Linear(5, 5)
        self.drop, self.act = nn.Dropout(0.5), nn.Tanh()
        self.register_buffer("shift", torch.ones(5))
        self.plain = torch.ones(5, dtype=torch.float64)
        self.factor = 2.0

    def forward(self, x, scale=1.0):
        h = self.drop(self.act(self.first(x)))
        return self.factor * scale * (self.last(h) - self.shift) * self.plain


def losses(output, target):
    """One loss an example."""
    return (output - target[:, None]).square().flatten(1).mean(1)


def quartic(output, target):
    """Another."""
    return (output - target[:, None]).pow(4).flatten(1).mean(1)


def batch(size=3, shape=(5,), dtype=torch.float64):
    """Inputs and targets."""
    return torch.randn(size, *shape, dtype=dtype), torch.randn(size, dtype=dtype)


@pytest.fixture
def step():
    """A step that has compiled once, in eval mode."""
    step = cc.compile(Net().double().eval(), losses)
    step(*batch())
    assert step.compilations == 1
    return step


def swap_parameters(model):
    """Two parameters exchange their names."""
    model.first.weight, model.last.weight = model.last.weight, model.first.weight


def swap_modules(model):
    """Two modules exchange their names."""
    model.first, model.last = model.last, model.first


def replace_parameter(model):
    """Another parameter under the old name."""
    model.first.weight = nn.Parameter(torch.randn(5, 5, dtype=torch.float64))


CHANGES = {
    "requires_grad": lambda m: m.first.weight.requires_grad_(False),
    "a replaced parameter": replace_parameter,
    "exchanged parameters": swap_parameters,
    "exchanged modules": swap_modules,
    "a tied parameter": lambda m: setattr(m.last, "weight", m.first.weight),
    "a removed bias": lambda m: setattr(m.first, "bias", None),
    "a replaced module": lambda m: setattr(m, "act", nn.Sigmoid()),
    "a module of another class": lambda m: setattr(m.act, "__class__", nn.Sigmoid),
    "a parametrisation": lambda m: nn.utils.parametrizations.weight_norm(m.first),
    "a forward hook": lambda m: m.first.register_forward_hook(lambda *call: 2 * call[-1]),
    "a forward pre-hook": lambda m: m.first.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    "a buffer of another shape": lambda m: setattr(m, "shift", torch.ones(1, dtype=torch.float64)),
    "a plain tensor replaced": lambda m: setattr(m, "plain", torch.full((5,), 3.0, dtype=torch.float64)),
    "a plain tensor changed": lambda m: m.plain.fill_(3.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_model_is_noticed(step, name):
    """One more compilation, and exact after it."""
    CHANGES[name](step.model)
    assert_exact(step, batch())
    assert step.compilations == 2


def test_the_mode_of_any_module_is_noticed(step):
    """Training mode of one dropout; back in eval mode the first program is used again."""
    step.model.drop.train()
    step.gradients(*batch())
    assert step.compilations == 2
    assert "dropout" in step.source
    step.model.eval()
    assert_exact(step, batch())
    assert step.compilations == 2
    assert "dropout" not in step.source


def test_another_dtype_is_noticed(step):
    """model.float(), with inputs to match."""
    step.model.float()
    step.model.plain = step.model.plain.float()
    assert_exact(step, batch(dtype=torch.float32), dtype=torch.float32)
    assert step.compilations == 2


def test_another_device_is_noticed(step):
    """Parameters on the meta device are other parameters: the old program is not run on them."""
    step.model.to("meta")
    with pytest.raises((cc.CompileError, RuntimeError, NotImplementedError)):
        step.gradients(*batch())


def test_values_are_read_at_every_call(step):
    """Parameters and buffers changed in place, or a buffer replaced by its like, need no new program."""
    with torch.no_grad():
        step.model.first.weight.mul_(3)
        step.model.shift.add_(1)
    assert_exact(step, batch())
    step.model.shift = torch.full((5,), 7.0, dtype=torch.float64)
    assert_exact(step, batch())
    assert step.compilations == 1


@pytest.mark.parametrize("kind", ["rank", "dtype of the target", "options", "option of another type"])
def test_another_kind_of_batch_is_noticed(step, kind):
    """Each is traced once; the first program is kept."""
    x, target = batch(shape=(2, 5)) if kind == "rank" else batch()
    options = {"options": {"scale": 3.0}, "option of another type": {"scale": True}}.get(kind, {})
    if kind == "dtype of the target":
        target = torch.randint(0, 3, (3,))
    if kind == "rank":
        step.loss_fn = lambda o, t: losses(o.flatten(1), t)
        step(*batch())
        step.compilations = 1
    assert_exact(step, (x, target), **options)
    assert step.compilations == 2
    assert_exact(step, batch())
    assert step.compilations == 2


def test_another_feature_size_is_noticed():
    """A fully convolutional model on images of two sizes."""
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()).double()
    step = cc.compile(model, losses)
    for length, compilations in ((6, 1), (9, 2), (6, 2)):
        assert_exact(step, batch(shape=(1, length)))
        assert step.compilations == compilations


def test_another_loss_is_noticed(step):
    """step.loss_fn set to another function, and back."""
    step.loss_fn = quartic
    assert_exact(step, batch())
    step.loss_fn = losses
    assert_exact(step, batch())
    assert step.compilations == 2


def test_replaced_modules_are_never_taken_for_those_before():
    """Many short-lived modules, whose places in memory are used again."""
    model = nn.Sequential(nn.Linear(5, 3), nn.ReLU()).double()
    step = cc.compile(model, losses)
    for turn in range(16):
        model[1] = (nn.Tanh, nn.Sigmoid, nn.ReLU, nn.ELU)[turn % 4]()
        assert_exact(step, batch())


def test_one_compilation_serves_every_batch_size():
    """N from 0 on, in any order, the first call with one example."""
    step = cc.compile(Net().double().eval(), losses)
    for size in (1, 0, 5, 2, 64, 1, 0):
        assert_exact(step, batch(size))
    assert step.compilations == 1


@pytest.mark.parametrize("first", [0, 2])
def test_the_first_batch_may_have_any_size(first):
    """The batch traced with leaves no trace of its size."""
    step = cc.compile(Net().double().eval(), losses, example_inputs=batch(first))
    assert_exact(step, batch(7))
    assert step.compilations == 1


def test_a_loader_with_a_smaller_last_batch():
    """10 examples in batches of 4, twice."""
    step = cc.compile(Net().double(), losses)
    sizes = []
    for _ in range(2):
        for x, target in DataLoader(TensorDataset(*batch(10)), batch_size=4):
            sizes.append(len(step(x, target).norms))
    assert sizes == [4, 4, 2] * 2
    assert step.compilations == 1


def test_a_number_is_noticed_after_retrace(step):
    """What no tensor shows: the documented call forces a new trace."""
    step.model.factor = 5.0
    before = step.compilations
    step.retrace()
    assert_exact(step, batch())
    assert step.compilations == before + 1


def test_a_copy_of_a_step_is_a_step_of_a_copy(step):
    """copy.deepcopy: exact, and the first step's parameters are not touched."""
    import copy

    other = copy.deepcopy(step)
    other.model.first.weight.data.mul_(2)
    step.zero_grad()
    other(*batch())
    assert_exact(other, batch())
    assert step.model.first.weight.grad is None
