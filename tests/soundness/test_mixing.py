"""Every way to let one example read another is refused, with the user's own line and what to do instead.

Each pattern is a function of h [N, 3], the output of a linear layer; the refusal must point at the pattern's line.
"""

import linecache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

BATCH = (torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64))

#: name: (the pattern, what the message says)
OVER_THE_BATCH = {
    "softmax": (lambda h: torch.softmax(h, 0), "softmax.* dim 0"),
    "log_softmax": (lambda h: F.log_softmax(h, dim=0), "softmax.* dim 0"),
    "logsumexp": (lambda h: h - h.logsumexp(0), "logsumexp.* dim 0"),
    "softmax of all": (lambda h: torch.softmax(h.flatten(), 0).view(-1, 3), "softmax"),
    "cumsum": (lambda h: h.cumsum(0), "cumsum.* dim 0"),
    "cummax": (lambda h: h.cummax(0)[0], "cummax.* dim 0"),
    "sort": (lambda h: h.sort(0)[0], "sort.* dim 0"),
    "topk": (lambda h: h.topk(1, dim=0)[0].expand_as(h), "topk.* dim 0"),
    "argmax": (lambda h: h * h.argmax(0), "argmax.* dim 0"),
    "median": (lambda h: h - h.median(0)[0], "median.* dim 0"),
    "flip": (lambda h: h + h.flip(0), "flip.* dim 0"),
    "roll": (lambda h: h + h.roll(1, 0), "roll.* dim 0"),
    "roll of all": (lambda h: h + h.roll(1), "roll.* dim 0"),
    "mean": (lambda h: h - h.mean(0), "mean.* dim 0"),
    "mean kept": (lambda h: h - h.mean(0, keepdim=True), "mean.* dim 0"),
    "mean of all": (lambda h: h - h.mean(), "mean.* dim 0"),
    "mean without gradient": (lambda h: h - h.detach().mean(0), "mean.* dim 0"),
    "sum": (lambda h: h / (1 + h.sum(0) ** 2), "sum.* dim 0"),
    "std": (lambda h: h / h.std(0), "std.* dim 0"),
    "var": (lambda h: h / (1 + h.var(0, unbiased=False)), "var.* dim 0"),
    "max": (lambda h: h - h.max(0)[0], "max.* dim 0"),
    "amax of all": (lambda h: h - h.amax(), "amax.* dim 0"),
    "norm": (lambda h: h / h.norm(dim=0), "norm.* dim 0"),
    "normalize": (lambda h: F.normalize(h, dim=0), "norm.* dim 0"),
    "prod": (lambda h: h * h.prod(0), "prod.* dim 0"),
    "any": (lambda h: h * (h > 0).any(), "any.* dim 0"),
    "count": (lambda h: h / (h > 0).sum(), "sum.* dim 0"),
    "layer norm": (lambda h: F.layer_norm(h.T.contiguous(), [h.shape[0]]).T, "layer_norm"),
    "group norm": (lambda h: F.group_norm(h.T[None], 1)[0].T, "group_norm.* dim 2"),
    "instance norm": (lambda h: F.instance_norm(h.T[None])[0].T, "instance_norm.* dim 2"),
    "batch norm": (lambda h: F.batch_norm(h, None, None, training=True), "batch_norm.* dim 0"),
    "convolution": (lambda h: F.conv1d(h.T[:, None], torch.ones(1, 1, 3).to(h), padding=1)[:, 0].T, "conv1d"),
    "pooling": (lambda h: F.avg_pool1d(h.T[None], 3, 1, 1)[0].T, "avg_pool1d.* dim 2"),
    "padding": (lambda h: F.pad(h, (0, 0, 1, 0))[1:], "pad.* dim 0"),
}

ONE_EXAMPLE_WITH_ANOTHER = {
    "in-batch similarities": (lambda h: h @ h.T, "pairs every example with every example"),
    "attention over the batch": (lambda h: torch.softmax(h @ h.T, -1) @ h, "pairs every example"),
    "covariance": (lambda h: h @ (h.T @ h), "dim 1 .* carries the examples|dim 0 .* carries the examples"),
    "differences of pairs": (lambda h: (h[:, None] - h[None]).square().sum((1, 2)), "examples"),
    "einsum over the batch": (lambda h: torch.einsum("nd,md->nm", h, h), "pairs every example|examples"),
    "the first example": (lambda h: h + h[0], "select.* dim 0"),
    "the first example, kept": (lambda h: h + h[:1], "slice.* dim 0"),
    "the last example": (lambda h: h + h[-1], "select.* dim 0"),
    "two copies of the batch": (lambda h: torch.cat([h, h], 0)[: h.shape[0]], "cat.* dim 0"),
    "batch statistics beside": (lambda h: torch.cat([h, h.mean(0, keepdim=True).expand_as(h)], 1), "mean.* dim 0"),
    "gathered rows": (lambda h: h.gather(0, (h > 0).long()), "gather.* dim 0"),
    "a mask of the batch": (lambda h: torch.where((h.mean(0) > 0)[None], h, -h), "mean.* dim 0"),
    "the largest draw": (lambda h: h * torch.rand(h.shape[0], 1).max(), "max.* dim 0"),
    "a lower triangle": (lambda h: torch.tril(torch.ones(h.shape[0], h.shape[0]).to(h)) @ h, "examples"),
}

THE_BATCH_SIZE = {
    "as a factor": (lambda h: h * h.shape[0], "batch size"),
    "as a divisor": (lambda h: h / h.numel(), "batch size"),
    "in a power": (lambda h: h ** h.shape[0], "batch size"),
    "in a scalar": (lambda h: h * torch.full((), h.shape[0]), "batch size"),
    "in a tensor": (lambda h: h * torch.tensor(h.shape[0]), "batch size"),
    "filled in": (lambda h: h * h.new_full((3,), h.shape[0]), "batch size"),
    "counted": (lambda h: h / torch.ones(h.shape[0]).sum(), "sum.* dim 0"),
    "as a bound": (lambda h: h.clamp(max=h.shape[0]), "batch size"),
    "as a slope": (lambda h: F.leaky_relu(h, 1 / h.shape[0]), "batch size"),
    "as a place": (lambda h: h * torch.arange(h.shape[0])[:, None], "batch size"),
    "as a weight of places": (lambda h: h * torch.ones_like(h).cumsum(0), "cumsum.* dim 0"),
    "as an identity": (lambda h: torch.eye(h.shape[0]).to(h).sum(1, keepdim=True) * h, "examples"),
}

EVERY = {**OVER_THE_BATCH, **ONE_EXAMPLE_WITH_ANOTHER, **THE_BATCH_SIZE}


class Mixing(nn.Module):
    """A linear layer, then a pattern, then one value an example."""

    def __init__(self, pattern):
        super().__init__()
        self.fc = nn.Linear(5, 3).double()
        self.pattern = pattern

    def forward(self, x):
        return self.pattern(self.fc(x))


def losses(output, target):
    """One loss for each row."""
    return (output.reshape(output.shape[0], -1) - target[:, None]).square().mean(1)


def assert_names_line(error, pattern):
    """The message holds the file, the line and the text of the pattern, and a remedy."""
    line = pattern.__code__.co_firstlineno
    text = linecache.getline(__file__, line).strip()
    assert f"{__file__}:{line}: {text}" in str(error)
    assert error.remedy and f"remedy: {error.remedy}" in str(error)


@pytest.mark.parametrize("name", EVERY)
def test_a_model_that_mixes_examples_is_refused(name):
    """The op, the dim that carries the examples, the user's line, a remedy."""
    pattern, says = EVERY[name]
    with pytest.raises(cc.ExamplesMixed, match=says) as caught:
        cc.compile(Mixing(pattern), losses).gradients(*BATCH)
    assert caught.value.origin.op in str(caught.value)
    assert_names_line(caught.value, pattern)


@pytest.mark.parametrize("name", ["softmax", "mean", "in-batch similarities", "the first example", "as a factor"])
def test_a_loss_that_mixes_examples_is_refused(name):
    """A loss function's line is named as a model's is."""
    pattern, says = EVERY[name]
    with pytest.raises(cc.ExamplesMixed, match=says) as caught:
        cc.compile(nn.Linear(5, 3).double(), lambda o, t: losses(pattern(o), t)).gradients(*BATCH)
    assert_names_line(caught.value, pattern)


@pytest.mark.parametrize("scale", [lambda w, n: w / n, lambda w, n: w**n, lambda w, n: w * n**0.5])
def test_a_weight_scaled_by_the_batch_size_is_refused(scale):
    """Σ_i x_i W_oi / N: the batch size stands in an op that reads no example."""
    model = Mixing(lambda h: F.linear(h, scale(torch.ones(2, 3, dtype=h.dtype), h.shape[0])))
    with pytest.raises(cc.ExamplesMixed, match="batch size") as caught:
        cc.compile(model, losses).gradients(*BATCH)
    assert_names_line(caught.value, scale)


#: What no graph for every batch size expresses: refused by the trace, before any axis is looked at.
UNTRACEABLE = {
    "a branch on one example": lambda h: h * 2 if h.shape[0] == 1 else h,
    "a branch on few examples": lambda h: h * 2 if h.shape[0] < 4 else h,
    "a branch on an even batch": lambda h: h * 2 if h.shape[0] % 2 == 0 else h,
    "halves of the batch": lambda h: h.reshape(h.shape[0] // 2, 6),
    "features and examples exchanged": lambda h: h.reshape(3, -1).T,
    "the transpose as a batch": lambda h: h.T.reshape(h.shape[0], 3),
    "an epsilon of the batch size": lambda h: F.layer_norm(h, (3,), None, None, 0.1 * h.shape[0]),
    "the values of a batch": lambda h: h * float(h.sum()),
    "batch norm of all steps": nn.BatchNorm1d(3, momentum=None, dtype=torch.float64),
    "a permutation of the batch": lambda h: h[torch.randperm(h.shape[0])],
    "an order of the batch": lambda h: h[h.sum(1).argsort()],
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_a_model_for_some_batches_only_is_refused(name):
    """Some refusal of the package, with a remedy: never a program, never a bare error."""
    with pytest.raises(cc.CompileError) as caught:
        cc.compile(Mixing(UNTRACEABLE[name]), losses).gradients(*BATCH)
    assert caught.value.remedy


NORMS = {
    "batch norm": nn.BatchNorm1d(4),
    "batch norm without statistics": nn.BatchNorm1d(4, track_running_stats=False).eval(),
    "batch norm, frozen but training": nn.BatchNorm1d(4).requires_grad_(False),
    "synchronised batch norm": nn.SyncBatchNorm(4),
    "instance norm with statistics": nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_layer_that_reads_the_batch_is_refused(name):
    """A layer whose output or whose buffers depend on several examples."""
    model = nn.Sequential(nn.Conv1d(2, 4, 1), NORMS[name], nn.Flatten()).double()
    with pytest.raises(cc.CompileError, match=r"eval|running statistics|GroupNorm") as caught:
        cc.compile(model, losses).gradients(torch.randn(4, 2, 6).double(), BATCH[1])
    assert caught.value.remedy


class Counting(nn.Module):
    """Keeps a running mean of its inputs, or counts its calls."""

    def __init__(self, update):
        super().__init__()
        self.fc = nn.Linear(5, 3).double()
        self.register_buffer("seen", torch.zeros(5, dtype=torch.float64))
        self.update = update

    def forward(self, x):
        self.update(self.seen, x)
        return self.fc(x - self.seen)


def test_a_buffer_updated_from_the_batch_is_refused():
    """The buffer's name, and what to do."""
    with pytest.raises(cc.ExamplesMixed, match=r"mean|buffer seen is updated from the whole batch"):
        cc.compile(Counting(lambda seen, x: seen.mul_(0.9).add_(0.1 * x.mean(0))), losses).gradients(*BATCH)


def test_a_buffer_updated_at_every_step_is_refused():
    """A count of steps would stay as it was at the trace."""
    with pytest.raises(cc.UntraceableModel, match="updates its buffer seen"):
        cc.compile(Counting(lambda seen, x: seen.add_(1)), losses).gradients(*BATCH)
