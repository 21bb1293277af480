"""What only looks like mixing: layouts in which the examples lie elsewhere, or within another dim. All are exact."""

import pytest
import torch
from apart import APART
from patterns import Pattern, check
from torch import nn


@pytest.mark.parametrize("name", APART)
def test_what_only_looks_like_mixing_is_exact(name):
    """N in {1, 2, 5} from one compilation, half of the examples clipped: norms and clipped sums within 1e-10."""
    _, forward, parts, shape = APART[name]
    check(Pattern(forward, **parts), shape)


STRIDES = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "channels last by hand": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "examples last in memory": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "every second one": lambda x: x.repeat_interleave(2, 0).repeat_interleave(2, 2)[::2, :, ::2],
    "one example repeated": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("name", STRIDES)
def test_inputs_are_exact_however_they_lie_in_memory(name):
    """A step compiled for contiguous inputs, then called with others: the same program, the same numbers."""
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 3, stride=2)
    step = check(nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 2)), (2, 6, 6))
    x, target = torch.randn(4, 2, 6, 6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    laid = STRIDES[name](x)
    result, sums = step.gradients(laid, target)
    expected, expected_sums = step.gradients(laid.contiguous(), target)
    torch.testing.assert_close(result.norms, expected.norms, rtol=1e-12, atol=0)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-10, atol=1e-12)


def test_two_image_sizes_are_two_programs():
    """Each exact, and the first one kept."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    step = check(model, (1, 6, 6))
    for side in (8, 6):
        step.gradients(torch.randn(3, 1, side, side).double(), torch.randn(3).double())
    assert step.compilations == 2
