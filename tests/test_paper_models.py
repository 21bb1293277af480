"""The paper's feed-forward, convolutional and recurrent models, exact at every batch size from one compilation each."""

import pytest
import torch
from comparison import PROMISED, assert_exact, compiled
from torch import nn

from paper_models import build

MODELS = {
    "mlp": (28, 1.0),
    "cnn": (28, 1.0),
    "rnn": (28, 0.25),
    "lstm": (28, 0.25),
    "vgg11": (32, 0.125),
    "resnet18": (32, 0.125),
}
LOSS = nn.CrossEntropyLoss(reduction="none")


def batch_of(name, size, dtype):
    pixels = MODELS[name][0]
    return torch.randn(size, 1, pixels, pixels, dtype=dtype), torch.randint(0, 10, (size,))


def model_of(name, dtype):
    pixels, width = MODELS[name]
    return build(name, width=width, channels=1, image_size=pixels).to(dtype)


@pytest.mark.parametrize("dtype", PROMISED, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_norms_and_sums_equal_the_loop_at_every_batch_size(name, dtype):
    """N in {1, 2, 7, 128}, C at the median norm: within 1e-10 in float64, 1e-5 in float32; one compilation."""
    model = model_of(name, dtype)
    step = compiled(model, LOSS, batch_of(name, 7, dtype))
    for size in (1, 2, 7, 128):
        assert_exact(step, batch_of(name, size, dtype), dtype)
    assert step.compilations == 1


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_batch_gives_empty_results_and_zero_gradients(name):
    """N = 0, traced with no example at all, and the same program then runs a batch."""
    model = model_of(name, torch.float64)
    step = compiled(model, LOSS, batch_of(name, 2, torch.float64))
    result = step(*batch_of(name, 0, torch.float64))
    assert result.losses.shape == result.norms.shape == result.clip_factors.shape == (0,)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    assert_exact(step, batch_of(name, 2, torch.float64))
    assert step.compilations == 1


@pytest.mark.parametrize("name", MODELS)
def test_verify_and_the_mean_loss_agree(name):
    """The mean loss is taken apart into its N losses; verify finds no error beyond rounding."""
    batch = batch_of(name, 3, torch.float64)
    step = compiled(model_of(name, torch.float64), nn.CrossEntropyLoss(), batch)
    assert step.verify(*batch) < 1e-12
