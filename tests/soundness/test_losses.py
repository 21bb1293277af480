"""Every loss of torch.nn.functional in every reduction: exact, or a refusal that says why."""

import pytest
import torch
from comparison import assert_exact, mostly_slow
from torch import nn
from torch.nn import functional as F

import clipcompiler as cc

CLASSES = 4
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)


def classes(size):
    """A class for each example."""
    return torch.randint(0, CLASSES, (size,))


def probabilities(size):
    """A distribution over the classes for each example."""
    return torch.softmax(torch.randn(size, CLASSES, dtype=torch.float64), 1)


def numbers(size):
    """Four numbers for each example."""
    return torch.randn(size, CLASSES, dtype=torch.float64)


def bits(size):
    """Four labels for each example."""
    return torch.randint(0, 2, (size, CLASSES)).double()


def signs(size):
    """Four labels of −1 and 1 for each example."""
    return 2 * bits(size) - 1


def sequences(size):
    """Three tokens for each example."""
    return torch.randint(0, CLASSES, (size, 3))


def places(size):
    """Classes in an order, up to the first that is no class."""
    return torch.tensor([[2, 0, -1, 1]] * size).reshape(size, 4)


def log_p(o):
    """Log-probabilities."""
    return F.log_softmax(o, 1)


def positive(o):
    """A variance, or a rate."""
    return F.softplus(o)


#: name: (loss of (output [N, 4], target) with options, the targets)
LOSSES = {
    "cross_entropy": (F.cross_entropy, classes),
    "cross_entropy, smoothed": (lambda o, t, **r: F.cross_entropy(o, t, label_smoothing=0.1, **r), classes),
    "cross_entropy, probabilities": (F.cross_entropy, probabilities),
    "cross_entropy, weighted probabilities": (lambda o, t, **r: F.cross_entropy(o, t, WEIGHT, **r), probabilities),
    "nll_loss": (lambda o, t, **r: F.nll_loss(log_p(o), t, **r), classes),
    "mse_loss": (F.mse_loss, numbers),
    "mse_loss, one column": (lambda o, t, **r: F.mse_loss(o, t[:, :1], **r), numbers),
    "l1_loss": (F.l1_loss, numbers),
    "smooth_l1_loss": (lambda o, t, **r: F.smooth_l1_loss(o, t, beta=0.3, **r), numbers),
    "huber_loss": (lambda o, t, **r: F.huber_loss(o, t, delta=0.3, **r), numbers),
    "binary_cross_entropy": (lambda o, t, **r: F.binary_cross_entropy(o.sigmoid(), t, WEIGHT, **r), bits),
    "binary_cross_entropy_with_logits": (
        lambda o, t, **r: F.binary_cross_entropy_with_logits(o, t, WEIGHT, pos_weight=2 * WEIGHT, **r), bits),
    "kl_div": (lambda o, t, **r: F.kl_div(log_p(o), t, **r), probabilities),
    "kl_div, logarithms": (lambda o, t, **r: F.kl_div(log_p(o), t.log(), log_target=True, **r), probabilities),
    "gaussian_nll_loss": (lambda o, t, **r: F.gaussian_nll_loss(o, t, positive(o.flip(1)), full=True, **r), numbers),
    "gaussian_nll_loss, one variance": (
        lambda o, t, **r: F.gaussian_nll_loss(o[:, :3], t[:, :3], positive(o[:, 3:]), **r), numbers),
    "poisson_nll_loss": (
        lambda o, t, **r: F.poisson_nll_loss(positive(o), t.abs(), log_input=False, full=True, **r), numbers),
    "hinge_embedding_loss": (F.hinge_embedding_loss, signs),
    "margin_ranking_loss": (
        lambda o, t, **r: F.margin_ranking_loss(o[:, :2], o[:, 2:], t[:, :2], margin=0.3, **r), signs),
    "soft_margin_loss": (F.soft_margin_loss, signs),
    "multilabel_margin_loss": (F.multilabel_margin_loss, places),
    "multilabel_soft_margin_loss": (
        lambda o, t, **r: F.multilabel_soft_margin_loss(o, t, WEIGHT, **r), bits),
    "multi_margin_loss": (lambda o, t, **r: F.multi_margin_loss(o, t, p=2, margin=0.5, weight=WEIGHT, **r), classes),
    "cosine_embedding_loss": (
        lambda o, t, **r: F.cosine_embedding_loss(o[:, :2], o[:, 2:], t[:, 0], margin=0.1, **r), signs),
    "triplet_margin_loss": (lambda o, t, **r: F.triplet_margin_loss(o, t, t.flip(1), swap=True, **r), numbers),
}  # fmt: skip


def model():
    """Four outputs an example."""
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()


def assert_exact_at_all_sizes(loss_fn, targets):
    """N in {1, 2, 7} from one compilation."""
    step = cc.compile(model(), loss_fn, max_grad_norm=0.3)
    for size in (1, 2, 7):
        assert_exact(step, (torch.randn(size, 5, dtype=torch.float64), targets(size)))
    assert step.compilations == 1
    return step


def refusal(loss_fn, targets):
    """The refusal of a loss."""
    with pytest.raises(cc.UnsupportedLoss) as caught:
        cc.compile(model(), loss_fn).gradients(torch.randn(4, 5, dtype=torch.float64), targets(4))
    assert caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_exact_unreduced(name):
    """Averaged within each example: a vector of N losses."""
    function, targets = LOSSES[name]

    def loss_fn(output, target):
        loss = function(output, target, reduction="none")
        return loss.flatten(1).mean(1) if loss.dim() > 1 else loss

    assert_exact_at_all_sizes(loss_fn, targets)


@pytest.mark.parametrize("name", mostly_slow(LOSSES, every=2))
def test_every_loss_is_exact_reduced(name):
    """Its mean and, over N, its sum, in one scalar: both are taken apart again into N losses."""
    function, targets = LOSSES[name]

    def loss_fn(output, target):
        mean, total = (function(output, target, reduction=reduction) for reduction in ("mean", "sum"))
        return mean + total / output.shape[0]

    assert_exact_at_all_sizes(loss_fn, targets)


@pytest.mark.parametrize("function", [F.cross_entropy, F.mse_loss], ids=["cross_entropy", "mse_loss"])
def test_a_sum_is_not_a_mean(function):
    """reduction="sum" alone: ℓ_n is the loss of example n, not an N-th of it."""
    targets = classes if function is F.cross_entropy else numbers
    assert_exact_at_all_sizes(lambda o, t: function(o, t, reduction="sum"), targets)


#: Means that are no means over examples.
WEIGHED = {
    "class weights": (lambda o, t: F.cross_entropy(o, t, WEIGHT), classes, "sum of the batch's weights"),
    "class weights of nll_loss": (lambda o, t: F.nll_loss(log_p(o), t, WEIGHT), classes, "sum of the batch's weights"),
    "class weights, smoothed": (
        lambda o, t: F.cross_entropy(o, t, WEIGHT, label_smoothing=0.1), classes, "sum of the batch's weights"),
    "tokens that count": (
        lambda o, t: F.cross_entropy(o[:, :, None].expand(-1, -1, 3), t, ignore_index=1), sequences, "that are not 1"),
    "tokens that count, flat": (
        lambda o, t: F.nll_loss(log_p(o).repeat(1, 3).view(-1, CLASSES), t.view(-1), ignore_index=0), sequences,
        "that are not 0"),
    "a mask": (lambda o, t: ((o - t) ** 2 * (t > 0)).sum() / (t > 0).sum(), numbers, "no plain sum or mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHED)
def test_a_mean_weighed_by_the_batch_is_refused(name):
    """Its weights tie the examples together."""
    loss_fn, targets, why = WEIGHED[name]
    message = refusal(loss_fn, targets)
    assert why in message
    assert "reduction='none'" in message


@pytest.mark.parametrize("name", ["class weights", "class weights of nll_loss", "tokens"])
def test_the_same_losses_unreduced_are_exact(name):
    """What the refusal asks for."""
    wanted = {
        "class weights": (lambda o, t: F.cross_entropy(o, t, WEIGHT, reduction="none"), classes),
        "class weights of nll_loss": (lambda o, t: F.nll_loss(log_p(o), t, WEIGHT, reduction="sum"), classes),
        "tokens": (
            lambda o, t: F.cross_entropy(o[:, :, None].expand(-1, -1, 3), t, reduction="none").mean(1), sequences),
    }[name]  # fmt: skip
    assert_exact_at_all_sizes(*wanted)


TOKENS = {
    "in a dim of their own": lambda o, t: F.cross_entropy(o[:, :, None].expand(-1, -1, 3), t),
    "flat": lambda o, t: F.cross_entropy(o.repeat(1, 3).view(-1, CLASSES), t.view(-1)),
    "time-major": lambda o, t: F.nll_loss(log_p(o)[None].expand(3, -1, -1).reshape(-1, CLASSES), t.T.flatten()),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_mean_over_tokens_is_exact_where_all_count(name):
    """(1/NT) Σ ℓ[n,t] is the mean of N means; with a target that is left out it is not, and the step refuses."""
    step = assert_exact_at_all_sizes(TOKENS[name], sequences)
    targets = sequences(4)
    targets[1, 2] = -100
    before = {n: p.grad for n, p in step.model.named_parameters()}
    with pytest.raises(cc.UnsupportedLoss, match="no plain mean over examples: a target is -100") as caught:
        step(torch.randn(4, 5, dtype=torch.float64), targets)
    assert "its own valid tokens" in caught.value.remedy
    assert {n: p.grad for n, p in step.model.named_parameters()} == before


COMPOSED = {
    "scaled": lambda o, t: 3 * F.mse_loss(o, t) / 2,
    "negative": lambda o, t: -F.mse_loss(o, t) + F.l1_loss(o, t),
    "two means": lambda o, t: F.mse_loss(o, t) + 0.5 * F.l1_loss(o[:, :2], t[:, :2]),
    "added with a factor": lambda o, t: torch.add(F.mse_loss(o, t), o.mean(), alpha=0.3),
    "a sum over N": lambda o, t: F.mse_loss(o, t, reduction="sum") / o.shape[0],
    "a sum over all": lambda o, t: F.mse_loss(o, t, reduction="sum") / o.numel(),
    "a sum over a number": lambda o, t: F.mse_loss(o, t, reduction="sum") / 128,
    "kl_div, batchmean": lambda o, t: F.kl_div(log_p(o), torch.softmax(t, 1), reduction="batchmean"),
    "a mean of means": lambda o, t: ((o - t) ** 2).mean(1).mean(),
    "a mean of maxima": lambda o, t: ((o - t) ** 2).amax(1).mean(),
    "kept dims": lambda o, t: ((o - t) ** 2).mean((0, 1), keepdim=True).squeeze(),
    "a focal loss": lambda o, t: ((1 - log_p(o).exp()) ** 2 * -log_p(o) * torch.softmax(t, 1)).sum(1).mean(),
    "valid tokens of one example": lambda o, t: ((o - t) ** 2 * (t > 0)).sum(1) / (t > 0).sum(1).clamp(min=1),
    "times zero": lambda o, t: F.mse_loss(o, t) + 0 * o.sum(),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_sums_and_means_composed_are_exact(name):
    """Scalars that are weighted sums of plain sums or means over examples."""
    assert_exact_at_all_sizes(COMPOSED[name], numbers)


#: name: (loss, what the message says)
REFUSED = {
    "a root": (lambda o, t: F.mse_loss(o, t).sqrt(), "no plain sum or mean over examples: it ends in aten.sqrt"),
    "a square": (lambda o, t: F.mse_loss(o, t) ** 2, "it ends in aten.pow"),
    "a largest": (lambda o, t: ((o - t) ** 2).max(), "it ends in aten.max"),
    "a norm": (lambda o, t: (o - t).norm(), "it ends in aten.linalg_vector_norm"),
    "a sum and a mean": (lambda o, t: F.mse_loss(o, t, reduction="sum") + F.l1_loss(o, t), "adds a sum .* to a mean"),
    "over N squared": (lambda o, t: F.mse_loss(o, t, reduction="sum") / o.shape[0] ** 2, "powers of the batch size"),
    "features": (lambda o, t: (o - t) ** 2, r"shape \[n, 4\]"),
    "a column": (lambda o, t: ((o - t) ** 2).mean(1, keepdim=True), r"shape \[n, 1\]"),
    "a constant": (lambda o, t: torch.zeros(()), "constant|no example"),
    "a number": (lambda o, t: 0.0, "no tensor|must be one tensor"),
    "nothing": (lambda o, t: None, "no tensor|must be one tensor"),
    "two values": (lambda o, t: (F.mse_loss(o, t), o), "2 values"),
    "integers": (lambda o, t: (o > t).sum(1), "int64|integer|floating"),
    "truths": (lambda o, t: (o > t).any(1), "bool|floating"),
    "complex numbers": (lambda o, t: (o - t).mean(1) * 1j, "complex|real"),
    "a penalty": (lambda o, t: F.mse_loss(o, t) + WEIGHT.sum(), "belongs to no example|no plain sum or mean"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_loss_of_each_example_is_refused(name):
    """With the reason and the remedy."""
    loss_fn, says = REFUSED[name]
    with pytest.raises(cc.UnsupportedLoss, match=says) as caught:
        cc.compile(model(), loss_fn).gradients(torch.randn(4, 5, dtype=torch.float64), numbers(4))
    assert caught.value.remedy


def test_outputs_and_targets_that_broadcast_to_pairs_are_refused():
    """[N, 1] against [N] is [N, N]: every example's output with every example's target."""
    with pytest.raises(cc.ExamplesMixed, match=r"pairs every example with every example|different places"):
        cc.compile(nn.Linear(5, 1), nn.MSELoss()).gradients(torch.randn(4, 5), torch.randn(4))
