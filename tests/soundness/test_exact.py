"""What only looks like mixing: layouts in which the examples lie elsewhere, or within another dim. All are exact."""

import pytest
import torch
from patterns import Pattern, check, parameter
from torch import nn
from torch.nn import functional as F


def frames(module):
    """[N, T, …] → time first, time and examples one dim → the module → back."""

    def forward(model, x):
        y = model.layer(x.transpose(0, 1).reshape(-1, *x.shape[2:]))
        return y.unflatten(0, (x.shape[1], x.shape[0])).transpose(0, 1)

    return forward, {"layer": module}


def running(norm):
    """A batch norm in eval mode with statistics of its own."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm.eval()


#: name: (forward of (model, x), parts, shape of one example)
LAYOUTS = {
    "examples and positions as one dim": (
        lambda m, x: m.f(x.reshape(-1, 4)).reshape(x.shape[0], 3, 2), {"f": nn.Linear(4, 2)}, (3, 4)),
    "positions first, as one dim": (*frames(nn.Linear(4, 2)), (3, 4)),
    "examples between two positions": (
        lambda m, x: m.f(x.permute(1, 0, 2, 3).reshape(-1, 4)).view(3, -1, 2, 2).transpose(0, 1),
        {"f": nn.Linear(4, 2)}, (3, 2, 4)),
    "time first": (lambda m, x: m.f(x.transpose(0, 1)).transpose(0, 1), {"f": nn.Linear(4, 2)}, (3, 4)),
    "examples last": (lambda m, x: (m.w @ x.T).T, {"w": parameter(3, 5)}, (5,)),
    "examples last, positions within": (
        lambda m, x: (m.w @ x.permute(2, 1, 0).reshape(5, -1)).reshape(3, 4, -1).permute(2, 0, 1),
        {"w": parameter(3, 5)}, (4, 5)),
    "a composite dim beside an equal one": (
        lambda m, x: F.linear(x.reshape(-1, 3, 5), m.w).view(x.shape[0], -1), {"w": parameter(2, 5)}, (3, 3, 5)),
    "a composite dim in an einsum": (
        lambda m, x: torch.einsum("b...i,oi->b...o", x.reshape(-1, 3, 5), m.w).view(x.shape[0], -1),
        {"w": parameter(2, 5)}, (3, 3, 5)),
    "convolution of frames": (
        lambda m, x: m.f(x.reshape(-1, 2, 5, 5)).view(x.shape[0], -1), {"f": nn.Conv2d(2, 3, 3)}, (3, 2, 5, 5)),
    "convolution of frames, time first": (*frames(nn.Conv2d(2, 3, 3, stride=2, padding=1)), (3, 2, 5, 5)),
    "grouped convolution of frames": (*frames(nn.Conv2d(4, 4, 3, groups=2, dilation=2)), (3, 4, 6, 6)),
    "transposed convolution of frames": (*frames(nn.ConvTranspose1d(2, 3, 3, 2, 1, output_padding=1)), (3, 2, 5)),
    "group norm of frames": (*frames(nn.GroupNorm(2, 4)), (3, 4, 5)),
    "layer norm of frames": (*frames(nn.LayerNorm(4)), (3, 4)),
    "instance norm of frames": (*frames(nn.InstanceNorm1d(4, affine=True)), (3, 4, 5)),
    "batch norm of frames, eval": (*frames(running(nn.BatchNorm1d(4))), (3, 4, 5)),
    "PReLU of frames": (*frames(nn.PReLU(4)), (3, 4, 5)),
    "softmax over the other dim": (lambda m, x: torch.softmax(m.f(x).T, 0).T, {"f": nn.Linear(5, 3)}, (5,)),
    "sort over the other dim": (lambda m, x: m.f(x).T.sort(0)[0].T, {"f": nn.Linear(5, 3)}, (5,)),
    "statistics of an example": (
        lambda m, x: (m.f(x) - m.f(x).mean(1, keepdim=True)) / (1 + m.f(x).std(1, keepdim=True)),
        {"f": nn.Linear(5, 3)}, (5,)),
    "a dim of one in front": (lambda m, x: m.f(x[None]).squeeze(0), {"f": nn.Linear(5, 3)}, (5,)),
    "indexed outputs": (lambda m, x: m.f(x)[:, -1, ::2], {"f": nn.Linear(5, 3)}, (4, 5)),
    "the whole as a slice": (lambda m, x: m.f(x[: x.shape[0]][:])[0:], {"f": nn.Linear(5, 3)}, (5,)),
    "picked features": (lambda m, x: m.f(x)[:, [0, 2]], {"f": nn.Linear(5, 3)}, (5,)),
    "gathered features": (
        lambda m, x: m.f(x).gather(1, x.argmax(1, keepdim=True) % 3), {"f": nn.Linear(5, 3)}, (5,)),
    "ones of the batch, summed within": (
        lambda m, x: m.f(x) * x.new_ones(x.shape[0], 3).sum(1, keepdim=True), {"f": nn.Linear(5, 3)}, (5,)),
    "zeros as a first state": (
        lambda m, x: torch.tanh(m.f(x) + m.g(x.new_zeros(x.shape[0], 3))),
        {"f": nn.Linear(5, 3), "g": nn.Linear(3, 3)}, (5,)),
    "attention within an example": (
        lambda m, x: torch.softmax(m.f(x) @ m.f(x).mT, -1) @ x, {"f": nn.Linear(5, 3)}, (4, 5)),
    "heads folded into the batch": (
        lambda m, x: (m.f(x).view(-1, 4, 2, 3).transpose(1, 2).reshape(-1, 4, 3) @ m.w).view(x.shape[0], -1),
        {"f": nn.Linear(5, 6), "w": parameter(3, 3)}, (4, 5)),
    "weights computed from the example": (
        lambda m, x: torch.bmm(m.f(x.mean(1)).view(-1, 3, 5), x.mT), {"f": nn.Linear(5, 15)}, (4, 5)),
    "a feature dim of none": (
        lambda m, x: m.f(x) + m.g(x[:, :0]), {"f": nn.Linear(5, 3), "g": nn.Linear(0, 3)}, (5,)),
    "every dim one": (lambda m, x: m.f(m.g(x)), {"f": nn.Linear(1, 1), "g": nn.Conv1d(1, 1, 1)}, (1, 1)),
}  # fmt: skip


def written(model, x):
    """Features written in place, as an output is assembled."""
    out = torch.zeros(x.shape[0], 4, dtype=x.dtype)
    out[:, :3] = model.f(x)
    out[:, 3] = x[:, 0]
    return out


def shifted(model, x):
    """Features added to their neighbours in place."""
    h = model.f(x).clone()
    h[:, 1:] += 2 * h[:, :-1]
    h[:, 0] = 0
    return h.add_(1).relu_()


def recurrent(model, x):
    """A loop over positions."""
    h = model.h.expand(x.shape[0], 3)
    for step in x.unbind(1):
        h = torch.tanh(model.f(step) + model.g(h))
    return h


PROGRAMS = {
    "written in place": (written, {"f": nn.Linear(5, 3)}, (5,)),
    "shifted in place": (shifted, {"f": nn.Linear(5, 3)}, (5,)),
    "a loop over positions": (
        recurrent, {"f": nn.Linear(5, 3), "g": nn.Linear(3, 3), "h": parameter(3)}, (4, 5)),
    "checkpointed": (
        lambda m, x: torch.utils.checkpoint.checkpoint(lambda v: torch.tanh(m.f(v)), x, use_reentrant=False),
        {"f": nn.Linear(5, 3)}, (5,)),
    "in its own precision": (lambda m, x: m.f(x.to(torch.float64)).double(), {"f": nn.Linear(5, 3)}, (5,)),
}  # fmt: skip


@pytest.mark.parametrize("name", [*LAYOUTS, *PROGRAMS])
def test_what_only_looks_like_mixing_is_exact(name):
    """N in {1, 2, 7} from one compilation: norms and clipped sums within 1e-10."""
    forward, parts, shape = {**LAYOUTS, **PROGRAMS}[name]
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
