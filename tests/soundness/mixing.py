"""Patterns by name in which one example reads another: each is refused, and its row in docs/soundness.md written.

``OF_VALUES`` are functions of h [N, 3], the output of a linear layer; ``OF_MODELS`` of a model with parts and its
batch x; ``OF_LOSSES`` of an output and a target. Each entry ends with what the message must say.
"""

import torch
from mixing_parts import assigned, hard_negatives, info_nce, keep, remember, scattered, statistics, token_mean
from torch import nn
from torch.nn import functional as F

__all__ = ["OF_LOSSES", "OF_MODELS", "OF_VALUES", "REMEDIES"]

OVER_THE_BATCH = {
    "softmax over the batch": (lambda h: torch.softmax(h, 0), "softmax over dim 0"),
    "log-softmax over the batch": (lambda h: F.log_softmax(h, dim=0), "softmax over dim 0"),
    "log-sum-exp over the batch": (lambda h: h - h.logsumexp(0), "logsumexp over dim 0"),
    "softmax over all elements": (lambda h: torch.softmax(h.flatten(), 0).view(-1, 3), "softmax over dim 0"),
    "cumsum over the batch": (lambda h: h.cumsum(0), "cumsum over dim 0"),
    "cummax over the batch": (lambda h: h.cummax(0)[0], "cummax over dim 0"),
    "sort over the batch": (lambda h: h.sort(0)[0], "sort over dim 0"),
    "topk over the batch": (lambda h: h.topk(1, dim=0)[0].expand_as(h), "topk over dim 0"),
    "argmax over the batch": (lambda h: h * h.argmax(0), "argmax over dim 0"),
    "median over the batch": (lambda h: h - h.median(0)[0], "median over dim 0"),
    "flip of the batch": (lambda h: h + h.flip(0), "flip over dim 0"),
    "roll of the batch": (lambda h: h + h.roll(1, 0), "roll over dim 0"),
    "roll of all elements": (lambda h: h + h.roll(1), "roll over dim 0"),
    "Fourier transform over the batch": (lambda h: torch.fft.fft(h, dim=0).abs(), "fft.* over dim 0"),
    "real Fourier transform over the batch": (lambda h: h * torch.fft.rfft(h, dim=0).abs().sum(), "fft.* over dim 0"),
    "centring, x − x.mean(0)": (lambda h: h - h.mean(0), "mean over dim 0"),
    "centring, the mean kept as a row": (lambda h: h - h.mean(0, keepdim=True), "mean over dim 0"),
    "mean of all elements": (lambda h: h - h.mean(), "mean over dim 0"),
    "a detached batch mean": (lambda h: h - h.detach().mean(0), "mean over dim 0"),
    "sum over the batch": (lambda h: h / (1 + h.sum(0) ** 2), "sum over dim 0"),
    "standard deviation over the batch": (lambda h: h / h.std(0), "std over dim 0"),
    "variance over the batch": (lambda h: h / (1 + h.var(0, unbiased=False)), "var over dim 0"),
    "max over the batch": (lambda h: h - h.max(0)[0], "max over dim 0"),
    "largest of all elements": (lambda h: h - h.amax(), "amax over dim 0"),
    "norm over the batch": (lambda h: h / h.norm(dim=0), "norm over dim 0"),
    "normalised over the batch": (lambda h: F.normalize(h, dim=0), "norm over dim 0"),
    "product over the batch": (lambda h: h * h.prod(0), "prod over dim 0"),
    "whether any example is positive": (lambda h: h * (h > 0).any(), "any over dim 0"),
    "a count over the batch": (lambda h: h / (h > 0).sum(), "sum over dim 0"),
    "layer norm over (N, D)": (lambda h: F.layer_norm(h, h.shape), "layer_norm"),
    "layer norm over N": (lambda h: F.layer_norm(h.T.contiguous(), [h.shape[0]]).T, "layer_norm"),
    "group norm with examples as channels' places": (lambda h: F.group_norm(h.T[None], 1)[0].T, "group_norm.* dim 2"),
    "instance norm over examples": (lambda h: F.instance_norm(h.T[None])[0].T, "instance_norm.* dim 2"),
    "functional batch norm": (lambda h: F.batch_norm(h, None, None, training=True), "batch_norm.* dim 0"),
    "convolution along the batch": (
        lambda h: F.conv1d(h.T[:, None], torch.ones(1, 1, 3).to(h), padding=1)[:, 0].T, "conv1d over dim 2"),
    "pooling along the batch": (lambda h: F.avg_pool1d(h.T[None], 3, 1, 1)[0].T, "avg_pool1d over dim 2"),
    "a shifted batch, by padding": (lambda h: F.pad(h, (0, 0, 1, 0))[1:], "pad over dim 0"),
    "a shifted batch, by slices": (lambda h: h + torch.cat([h[-1:], h[:-1]]), "slice over dim 0"),
}  # fmt: skip

ONE_EXAMPLE_WITH_ANOTHER = {
    "x @ xᵀ": (lambda h: h @ h.T, "pairs every example with every example"),
    "attention over the batch": (lambda h: torch.softmax(h @ h.T, -1) @ h, "pairs every example"),
    "covariance": (lambda h: h @ (h.T @ h), "over dim [01] .* carries the examples"),
    "differences of pairs": (lambda h: (h[:, None] - h[None]).square().sum((1, 2)), "pairs every example"),
    "a batch kernel": (lambda h: torch.exp(-torch.cdist(h, h)).mean(1, keepdim=True), "some batch sizes"),
    "einsum over the batch": (lambda h: torch.einsum("nd,md->nm", h, h), "pairs every example"),
    "x + x[0]": (lambda h: h + h[0], "select over dim 0"),
    "the first example, kept as a row": (lambda h: h + h[:1], "slice over dim 0"),
    "the last example": (lambda h: h + h[-1], "select over dim 0"),
    "two copies of the batch": (lambda h: torch.cat([h, h], 0)[: h.shape[0]], "cat over dim 0"),
    "batch statistics as features": (
        lambda h: torch.cat([h, h.mean(0, keepdim=True).expand_as(h)], 1), "mean over dim 0"),
    "a gathered batch": (lambda h: h.gather(0, (h > 0).long()), "gather over dim 0"),
    "a scattered batch": (scattered, "scatter"),
    "a permuted batch": (lambda h: h[torch.randperm(h.shape[0])], "batch size"),
    "a batch in the order of its values": (lambda h: h[h.sum(1).argsort()], "sort"),
    "a batch looked up by the batch": (lambda h: h[h.argmax(1)], "index over dim 0"),
    "a mask of the batch": (lambda h: torch.where((h.mean(0) > 0)[None], h, -h), "mean over dim 0"),
    "the largest draw": (lambda h: h * torch.rand(h.shape[0], 1).max(), "max over dim 0"),
    "a causal mask over examples": (lambda h: torch.tril(torch.ones(h.shape[0], h.shape[0]).to(h)) @ h, "pairs every"),
    "the batch merged into features": (lambda h: torch.softmax(h.reshape(1, -1), 1).view(-1, 3), "softmax over dim 1"),
    "features and examples exchanged by a view": (lambda h: h.reshape(3, -1).T, "view from"),
    "the transpose viewed as a batch": (lambda h: h.T.reshape(h.shape[0], 3), "some batch sizes"),
}  # fmt: skip

THE_BATCH_SIZE = {
    "the batch size as a factor": (lambda h: h * h.shape[0], "batch size"),
    "the batch size as a divisor": (lambda h: h / h.numel(), "batch size"),
    "the batch size in a power": (lambda h: h ** h.shape[0], "batch size"),
    "the batch size in a scalar": (lambda h: h * torch.full((), h.shape[0]), "batch size"),
    "the batch size in a tensor": (lambda h: h * torch.tensor(h.shape[0]), "batch size"),
    "the batch size filled in": (lambda h: h * h.new_full((3,), h.shape[0]), "batch size"),
    "the batch size, counted": (lambda h: h / torch.ones(h.shape[0]).sum(), "sum over dim 0"),
    "the batch size as a bound": (lambda h: h.clamp(max=h.shape[0]), "batch size"),
    "the batch size as a slope": (lambda h: F.leaky_relu(h, 1 / h.shape[0]), "batch size"),
    "the place in the batch as a weight": (lambda h: h * torch.arange(h.shape[0])[:, None], "places of the examples"),
    "the place in the batch, counted": (lambda h: h * torch.ones_like(h).cumsum(0), "cumsum over dim 0"),
    "the place in the batch as a mask": (
        lambda h: torch.where(torch.arange(h.shape[0])[:, None] > 0, h, -h), "places of the examples"),
    "an identity of the batch size": (lambda h: torch.eye(h.shape[0]).to(h).sum(1, keepdim=True) * h, "batch size"),
    "the example before, by arange": (lambda h: h[torch.arange(h.shape[0]) - 1], "places of the examples"),
    "the batch backwards, by arange": (lambda h: h[torch.arange(h.shape[0] - 1, -1, -1)], "batch size"),
    "a table looked up by arange": (
        lambda h: h + torch.ones(99, 3).to(h)[torch.arange(h.shape[0])], "places of the examples"),
}  # fmt: skip

OF_VALUES = {**OVER_THE_BATCH, **ONE_EXAMPLE_WITH_ANOTHER, **THE_BATCH_SIZE}

#: name: (forward of (model, x), parts, shape of one example, what the message says)
OF_MODELS = {
    "batch norm": (lambda m, x: m.bn(m.f(x)), {"f": nn.Conv1d(2, 4, 1), "bn": nn.BatchNorm1d(4)}, (2, 6),
        "batch_norm"),
    "batch norm without statistics": (
        lambda m, x: m.bn(m.f(x)),
        {"f": nn.Conv1d(2, 4, 1), "bn": nn.BatchNorm1d(4, track_running_stats=False).eval()}, (2, 6), "batch_norm"),
    "batch norm, frozen but in training mode": (
        lambda m, x: m.bn(m.f(x)), {"f": nn.Conv1d(2, 4, 1), "bn": nn.BatchNorm1d(4).requires_grad_(False)}, (2, 6),
        "batch_norm"),
    "batch norm of all steps (momentum=None)": (
        lambda m, x: m.bn(m.f(x)), {"f": nn.Linear(5, 3), "bn": nn.BatchNorm1d(3, momentum=None)}, (5,),
        "batch norm"),
    "synchronised batch norm": (
        lambda m, x: m.bn(m.f(x)), {"f": nn.Conv1d(2, 4, 1), "bn": nn.SyncBatchNorm(4)}, (2, 6), "batch_norm"),
    "instance norm with running statistics": (
        lambda m, x: m.norm(m.f(x)),
        {"f": nn.Conv1d(2, 4, 1), "norm": nn.InstanceNorm1d(4, track_running_stats=True)}, (2, 6), "instance_norm"),
    "a running mean, read": (statistics, {"f": nn.Linear(5, 3), "seen": torch.zeros(5)}, (5,), "mean over dim 0"),
    "a running mean, only kept": (remember, {"f": nn.Linear(5, 3), "seen": torch.zeros(5)}, (5,), "mean over dim 0"),
    "the last example, kept in a buffer": (
        lambda m, x: m.f(x) if m.seen.copy_(x[-1]) is not None else x, {"f": nn.Linear(5, 3), "seen": torch.zeros(5)},
        (5,), "select over dim 0|buffer seen is updated from the whole batch"),
    "a buffer written with a gradient": (
        keep, {"f": nn.Linear(5, 3), "kept": torch.zeros(5)}, (5,), "its buffer kept in its forward, with a value"),
    "a running mean, assigned": (
        assigned, {"f": nn.Linear(5, 3), "seen": torch.zeros(5)}, (5,), "assigns the buffer seen"),
    "nn.RNN with the batch as time": (
        lambda m, x: m.rnn(m.f(x))[0], {"f": nn.Linear(5, 3), "rnn": nn.RNN(3, 3)}, (4, 5), "rnn_layer over dim 0"),
    "nn.LSTM with the batch as time": (
        lambda m, x: m.rnn(m.f(x))[0], {"f": nn.Linear(5, 3), "rnn": nn.LSTM(3, 3)}, (4, 5), "lstm_layer over dim 0"),
    "nn.GRU with the batch as time": (
        lambda m, x: m.rnn(m.f(x))[0], {"f": nn.Linear(5, 3), "rnn": nn.GRU(3, 3)}, (4, 5), "gru_layer over dim 0"),
    "nn.MultiheadAttention with the batch as time": (
        lambda m, x: m.a(x, x, x)[0], {"a": nn.MultiheadAttention(4, 2)}, (3, 4), "pairs every example"),
    "nn.TransformerEncoderLayer with the batch as time": (
        lambda m, x: m.a(x), {"a": nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)}, (3, 4),
        "scaled_dot_product_attention"),
    "attention by hand with the batch as time": (
        lambda m, x: (torch.softmax(m.q(x).transpose(0, 1) @ m.k(x).permute(1, 2, 0), -1) @ x.transpose(0, 1)).mean(0),
        {"q": nn.Linear(4, 4), "k": nn.Linear(4, 4)}, (3, 4), "pairs every example"),
    "a convolution over time, the batch as time": (
        lambda m, x: m.f(x.permute(1, 2, 0)).permute(2, 0, 1), {"f": nn.Conv1d(5, 3, 3, padding=1)}, (4, 5), "conv1d"),
    "a hypernetwork of the batch": (
        lambda m, x: F.linear(x, m.h(x.mean(0)).view(3, 5)), {"h": nn.Linear(5, 15)}, (5,), "mean over dim 0"),
}  # fmt: skip

#: name: (loss of (output, target), shape of one output, shape of one target, what the message says)
OF_LOSSES = {
    "in-batch negatives (InfoNCE)": (info_nce, (3,), (3,), "pairs every example"),
    "hardest negative of the batch": (hard_negatives, (3,), (3,), "some batch sizes"),
    "cross-entropy averaged over valid tokens": (
        lambda o, t: F.cross_entropy(o.mT, (t > 0).long(), ignore_index=0), (4, 3), (4,), "that are not 0"),
    "a mean over valid tokens by a mask": (token_mean, (4, 3), (4,), "no plain sum or mean"),
    "cross-entropy with class weights, averaged": (
        lambda o, t: F.cross_entropy(o, (t > 0).long(), torch.ones(3).to(o)), (3,), (), "class weights"),
    "the largest loss of the batch": (
        lambda o, t: (o - t[:, None]).square().mean(1).max(), (3,), (), "no plain sum or mean"),
    "hard examples only (topk of the losses)": (
        lambda o, t: (o - t[:, None]).square().mean(1).topk(2)[0].mean(), (3,), (), "topk over dim 0"),
    "root of the mean square": (lambda o, t: F.mse_loss(o, t).sqrt(), (3,), (3,), "no plain sum or mean"),
    "losses divided by their batch's mean": (
        lambda o, t: (v := (o - t).square().mean(1)) / v.detach().mean(), (3,), (3,), "mean over dim 0"),
    "weights normalised over the batch": (
        lambda o, t: (o - t).square().mean(1) * torch.softmax(t.sum(1), 0), (3,), (3,), "softmax over dim 0"),
    "moments of two batches matched (MMD, CORAL)": (
        lambda o, t: (o.mean(0) - t.mean(0)).square().expand(o.shape[0], 3).sum(1), (3,), (3,), "mean over dim 0"),
    "decorrelation (Barlow twins)": (
        lambda o, t: ((o.T @ t / 7 - torch.eye(3).to(o)) ** 2).sum(), (3,), (3,), "matmul over dim 1"),
    "variance of the batch held up (VICReg)": (
        lambda o, t: (o - t).square().mean(1) + F.relu(1 - o.std(0)).sum(), (3,), (3,), "std over dim 0"),
    "Cox partial likelihood": (
        lambda o, t: -(o[:, 0] - o[:, 0].logcumsumexp(0)), (3,), (3,), "logcumsumexp over dim 0"),
    "ranks of neighbours in the batch": (
        lambda o, t: F.margin_ranking_loss(o[:-1, 0], o[1:, 0], t[1:, 0].sign()), (3,), (3,), "some batch sizes"),
    "R² (the batch's variance in a quotient)": (
        lambda o, t: (o - t).square().mean(1) / (t - t.mean(0)).square().sum(), (3,), (3,), "(mean|sum) over dim 0"),
}  # fmt: skip

#: What the remedy of some of them says.
REMEDIES = {
    "batch norm": "GroupNorm.*eval mode",
    "batch norm of all steps (momentum=None)": "GroupNorm.*eval mode",
    "functional batch norm": "GroupNorm",
    "in-batch negatives (InfoNCE)": "make the group the unit",
    "x @ xᵀ": "make the group the unit",
    "cross-entropy averaged over valid tokens": "each sequence over its own valid tokens",
    "a mean over valid tokens by a mask": "each sequence over its own valid tokens",
    "instance norm with running statistics": "track_running_stats=False",
    "x + x[0]": r"x\[torch.arange\(x.shape\[0\]\), i\]",
    "layer norm over (N, D)": "LayerNorm",
    "centring, x − x.mean(0)": r"x.mean\(dim=1\)",
}
