"""Patterns by name that only look as if examples met: each is exact, and its row in docs/soundness.md written.

name: (why the examples stay apart, forward of (model, x), parts, shape of one example).
"""

import torch
from apart_parts import (
    continuous_positions,
    count,
    frames,
    in_blocks,
    loss_of_losses,
    one_hot,
    recurrent,
    running,
    scaled_by_hand,
    shifted,
    silenced,
    windows,
    written,
)  # fmt: skip
from patterns import parameter
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

__all__ = ["APART"]


def layer(*more, **parts):
    """f: [5] → [3]."""
    return {"f": nn.Linear(5, 3), **parts}


MERGED = "examples and positions are one dim, n·s; its axes stay apart"
TIME_FIRST = "the examples are the fast axis of the dim, s·n"

LAYOUTS = {
    "flattened tokens": (
        MERGED, lambda m, x: m.f(x.reshape(-1, 5)).reshape(x.shape[0], 4, 3), layer(), (4, 5)),
    "time-major, as one dim": (
        TIME_FIRST, lambda m, x: m.f(x.transpose(0, 1).reshape(-1, 5)).view(4, -1, 3).transpose(0, 1), layer(), (4, 5)),
    "examples between two positions": (
        "s·n·t, taken apart again in the same order",
        lambda m, x: m.f(x.permute(1, 0, 2, 3).reshape(-1, 4)).view(3, -1, 2, 2).transpose(0, 1),
        {"f": nn.Linear(4, 2)}, (3, 2, 4)),
    "time-major": ("the examples are dim 1", lambda m, x: m.f(x.transpose(0, 1)).transpose(0, 1), layer(), (4, 5)),
    "examples last": (
        "the examples are dim 1 of the product", lambda m, x: (m.w @ x.T).T, {"w": parameter(3, 5)}, (5,)),
    "examples last, positions within": (
        TIME_FIRST, lambda m, x: (m.w @ x.permute(2, 1, 0).reshape(5, -1)).reshape(3, 4, -1).permute(2, 0, 1),
        {"w": parameter(3, 5)}, (4, 5)),
    "a composite dim beside an equal one": (
        MERGED, lambda m, x: F.linear(x.reshape(-1, 3, 5), m.w).view(x.shape[0], -1), {"w": parameter(2, 5)},
        (3, 3, 5)),
    "a composite dim in an einsum": (
        MERGED, lambda m, x: torch.einsum("b...i,oi->b...o", x.reshape(-1, 3, 5), m.w).view(x.shape[0], -1),
        {"w": parameter(2, 5)}, (3, 3, 5)),
    "window partition": (
        "windows are places within an example: n·(rows)·(columns)", windows, {"f": nn.Linear(3, 2)}, (4, 4, 3)),
    "shifted windows": (
        "the shift goes over rows and columns", lambda m, x: windows(m, x.roll((-1, -1), (1, 2))),
        {"f": nn.Linear(3, 2)}, (4, 4, 3)),
    "space to depth in blocks": ("blocks are cut out of one image", in_blocks, {"f": nn.Linear(8, 2)}, (2, 4, 4)),
    "patches of an image": (
        "a window reads one image", lambda m, x: m.f(F.unfold(x, 2, stride=2).mT), {"f": nn.Linear(8, 3)}, (2, 4, 4)),
    "convolution of frames": (
        MERGED, lambda m, x: m.f(x.reshape(-1, 2, 5, 5)).view(x.shape[0], -1), {"f": nn.Conv2d(2, 3, 3)}, (3, 2, 5, 5)),
    "convolution of frames, time first": (
        TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.Conv2d(2, 3, 3, stride=2, padding=1)}, (3, 2, 5, 5)),
    "grouped convolution of frames": (
        TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.Conv2d(4, 4, 3, groups=2, dilation=2)}, (3, 4, 6, 6)),
    "transposed convolution of frames": (
        TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.ConvTranspose1d(2, 3, 3, 2, 1, output_padding=1)}, (3, 2, 5)),
    "group norm of frames": (TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.GroupNorm(2, 4)}, (3, 4, 5)),
    "layer norm of frames": (TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.LayerNorm(4)}, (3, 4)),
    "instance norm of frames": (
        TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.InstanceNorm1d(4, affine=True)}, (3, 4, 5)),
    "batch norm of frames, eval": (
        "running statistics are numbers", lambda m, x: frames(m.f, x), {"f": running(nn.BatchNorm1d(4))}, (3, 4, 5)),
    "PReLU of frames": (TIME_FIRST, lambda m, x: frames(m.f, x), {"f": nn.PReLU(4)}, (3, 4, 5)),
    "a dim of one in front": ("the examples are dim 1", lambda m, x: m.f(x[None]).squeeze(0), layer(), (5,)),
}  # fmt: skip

WITHIN = "it works over the dim within an example"

OVER_ANOTHER_DIM = {
    "softmax over dim 0 of the transpose": (WITHIN, lambda m, x: torch.softmax(m.f(x).T, 0).T, layer(), (5,)),
    "sort over dim 0 of the transpose": (WITHIN, lambda m, x: m.f(x).T.sort(0)[0].T, layer(), (5,)),
    "flip, roll and cumsum of time": (
        WITHIN, lambda m, x: m.f(x).flip(1).roll(1, 1).cumsum(1), layer(), (4, 5)),
    "Fourier transform of time": (
        WITHIN, lambda m, x: torch.fft.rfft(m.f(x), dim=1).abs(), layer(), (4, 5)),
    "top-k of an example": (WITHIN, lambda m, x: m.f(x).topk(2, dim=1)[0], layer(), (5,)),
    "statistics of an example": (
        WITHIN, lambda m, x: (m.f(x) - m.f(x).mean(1, keepdim=True)) / (1 + m.f(x).std(1, keepdim=True)), layer(),
        (5,)),
    "layer norm over (T, D)": (WITHIN, lambda m, x: m.n(m.f(x)), layer(n=nn.LayerNorm((4, 3))), (4, 5)),
    "attention within an example": (
        "n stands in front of both products", lambda m, x: torch.softmax(m.f(x) @ m.f(x).mT, -1) @ x, layer(), (4, 5)),
    "nn.MultiheadAttention, batch first": (
        "the examples are the batch dim of both products", lambda m, x: m.a(x, x, x)[0],
        {"a": nn.MultiheadAttention(4, 2, batch_first=True)}, (3, 4)),
    "nn.MultiheadAttention, time-major": (
        "n·heads is the batch dim of both products",
        lambda m, x: m.a(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1))[0].transpose(0, 1),
        {"a": nn.MultiheadAttention(4, 2)}, (3, 4)),
    "distances within an example": (
        "every pair is of one example", lambda m, x: torch.cdist(m.f(x), m.f(x)), layer(), (4, 5)),
    "time-major attention by hand": (
        "the examples are the batch dim of both products",
        lambda m, x: torch.einsum("snt,tnd->nsd", torch.softmax(
            torch.einsum("snd,tnd->snt", m.f(x).transpose(0, 1), m.f(x).transpose(0, 1)), -1), x.transpose(0, 1)),
        layer(), (4, 5)),
    "heads folded into the batch": (
        "n·heads, taken apart again in the same order",
        lambda m, x: (m.f(x).view(-1, 4, 2, 3).transpose(1, 2).reshape(-1, 4, 3) @ m.w).view(x.shape[0], -1),
        {"f": nn.Linear(5, 6), "w": parameter(3, 3)}, (4, 5)),
    "pairs within an example": (
        "every pair is of one example", lambda m, x: (m.f(x)[:, :, None] - m.f(x)[:, None]).square().sum(-1), layer(),
        (4, 5)),
    "contrast within an example": (
        "negatives are the example's own views",
        lambda m, x: torch.logsumexp(F.normalize(m.f(x), dim=-1) @ F.normalize(m.f(x), dim=-1).mT, -1), layer(),
        (4, 5)),
    "a mean over valid tokens, sequence by sequence": (
        "each sequence is divided by its own count",
        lambda m, x: (m.f(x) * (x[..., :1] > 0)).sum(1) / (1 + (x[..., :1] > 0).sum(1)), layer(), (4, 5)),
    "weights computed from the example": (
        "one filter for each example", lambda m, x: torch.bmm(m.f(x.mean(1)).view(-1, 3, 5), x.mT),
        {"f": nn.Linear(5, 15)}, (4, 5)),
}  # fmt: skip

OWN = "arange(N) as an index is each example's own place"

LOOKED_UP = {
    "last token by arange": (
        OWN, lambda m, x: m.f(x)[torch.arange(x.shape[0]), (x[..., 0] > 0).sum(1) - 1], layer(), (4, 5)),
    "several tokens by arange": (
        OWN, lambda m, x: m.f(x)[torch.arange(x.shape[0])[:, None], (x[:, :2, 0] > 0).long()], layer(), (4, 5)),
    "last token by arange, time first": (
        OWN, lambda m, x: m.f(x).transpose(0, 1)[(x[..., 0] > 0).sum(1) - 1, torch.arange(x.shape[0])], layer(),
        (4, 5)),
    "examples repeated by arange": (
        OWN, lambda m, x: m.f(x)[torch.arange(x.shape[0])[:, None].expand(-1, 2).flatten()].view(x.shape[0], -1),
        layer(), (5,)),
    "gathered at the own place": (
        OWN, lambda m, x: m.f(x).gather(0, torch.arange(x.shape[0])[:, None].expand(-1, 3)), layer(), (5,)),
    "indexed outputs": ("dims within an example", lambda m, x: m.f(x)[:, -1, ::2], layer(), (4, 5)),
    "the whole batch as a slice": ("nothing is cut", lambda m, x: m.f(x[: x.shape[0]][:])[0:], layer(), (5,)),
    "picked features": ("a dim within an example", lambda m, x: m.f(x)[:, [0, 2]], layer(), (5,)),
    "gathered features": (
        "each example by its own index", lambda m, x: m.f(x).gather(1, x.argmax(1, keepdim=True) % 3), layer(), (5,)),
    "last token by gather": (
        "each example by its own index",
        lambda m, x: m.f(x).gather(1, ((x[..., 0] > 0).sum(1) % 4)[:, None, None].expand(-1, 1, 3))[:, 0], layer(),
        (4, 5)),
    "a choice by a one-hot product": ("no place in the batch is read", one_hot, layer(), (4, 5)),
    "relative position table": (
        "the index is a constant; the table is a parameter",
        lambda m, x: torch.softmax(m.f(x) @ m.f(x).mT + m.table[m.index], -1) @ x,
        layer(table=parameter(7), index=torch.arange(4)[:, None] - torch.arange(4) + 3), (4, 5)),
    "relative positions by a small network": (
        "positions are places within an example", continuous_positions, layer(g=nn.Linear(1, 1)), (4, 5)),
    "learned positions": ("the table has no examples", lambda m, x: x + m.p[:, : x.shape[1]], {"p": parameter(1, 9, 5)},
        (4, 5)),
}  # fmt: skip

CREATED = "a value of extent N is made for the examples, one place each"

MADE = {
    "an expanded class token": (
        CREATED, lambda m, x: torch.cat([m.c.expand(x.shape[0], -1, -1), x], 1) @ m.w,
        {"c": parameter(1, 1, 5), "w": parameter(5, 2)}, (4, 5)),
    "a repeated class token": (
        CREATED, lambda m, x: torch.cat([m.c.repeat(x.shape[0], 1, 1), x], 1) @ m.w,
        {"c": parameter(1, 1, 5), "w": parameter(5, 2)}, (4, 5)),
    "a class token, time first": (
        CREATED, lambda m, x: torch.cat([m.c.expand(1, x.shape[0], 5), x.transpose(0, 1)]).transpose(0, 1),
        {"c": parameter(1, 1, 5)}, (4, 5)),
    "ones of the batch, summed within": (
        CREATED, lambda m, x: m.f(x) * x.new_ones(x.shape[0], 3).sum(1, keepdim=True), layer(), (5,)),
    "zeros as a first state": (
        CREATED, lambda m, x: torch.tanh(m.f(x) + m.g(x.new_zeros(x.shape[0], 3))), layer(g=nn.Linear(3, 3)), (5,)),
    "a learned first state": ("the loop goes over time", recurrent,
        layer(g=nn.Linear(3, 3), h=parameter(3)), (4, 5)),
    "a causal mask over time": (
        "the mask has no examples", lambda m, x: torch.tril(torch.ones(4, 4).to(x)) @ m.f(x), layer(), (4, 5)),
}  # fmt: skip

KNOWN = "statistics of earlier data are numbers"

PROGRAMS = {
    "batch norm in eval mode": (KNOWN, lambda m, x: m.bn(m.f(x)), layer(bn=running(nn.BatchNorm1d(3))), (5,)),
    "instance norm with statistics, eval": (
        KNOWN, lambda m, x: m.n(m.f(x)),
        {"f": nn.Conv1d(2, 3, 1), "n": running(nn.InstanceNorm1d(3, affine=True, track_running_stats=True))}, (2, 6)),
    "a count of steps in a buffer": (
        "no example is read for it", count, layer(steps=torch.zeros(())), (5,)),
    "spectral norm in training mode": (
        "its power iteration reads the weight alone", lambda m, x: m.f(x),
        {"f": nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3))}, (5,)),
    "unused statistics": (
        "the loss does not depend on them", lambda m, x: m.f(x) if x.mean(0) is not None else x, layer(), (5,)),
    "centred by a constant": (
        KNOWN, lambda m, x: m.f((x - m.mean) / m.std), layer(mean=torch.randn(5), std=torch.rand(5) + 0.5), (5,)),
    "frozen first layers": (
        "no gradient is asked of them", lambda m, x: m.g(torch.tanh(m.f(x))),
        {"f": nn.Linear(5, 3).requires_grad_(False), "g": nn.Linear(3, 2)}, (5,)),
    "a frozen table, looked up by the batch": (
        "each example reads its own row of it", lambda m, x: m.g(m.e((x > 0).long())),
        {"e": nn.Embedding(2, 3).requires_grad_(False), "g": nn.Linear(3, 2)}, (5,)),
    "tied heads": (
        "the gradients of both uses are added before the norm",
        lambda m, x: F.linear(torch.tanh(F.linear(x, m.w)), m.w.t()),
        {"w": parameter(3, 5)}, (5,)),
    "two heads of one trunk": (
        "the gradients of both paths are added", lambda m, x: torch.cat([m.g(m.f(x)), m.h(m.f(x))], 1),
        layer(g=nn.Linear(3, 2), h=nn.Linear(3, 2)), (5,)),
    "a constant made like a value of the batch": (
        "it reads where the value lies, and none of its numbers",
        lambda m, x: m.f(x) * x.sum(-1, keepdim=True).new_full((3,), 2.0),
        layer(), (5,)),
    "a reused module": (
        "the gradients of its calls are added", lambda m, x: m.f(torch.relu(m.f(torch.relu(m.f(x))))),
        {"f": nn.Linear(5, 5)}, (5,)),
    "written in place": ("a row of the output is one example's", written, layer(), (5,)),
    "written where a mask is true": (
        "one value for all places of the mask: a choice by element", silenced, layer(token=parameter(3)), (4, 5)),
    "each example several times over (augmentation)": (
        "n·r, of which a mean over r is taken", lambda m, x: m.f(x.repeat_interleave(3, 0)).view(-1, 3, 3).mean(1),
        layer(), (5,)),
    "all examples several times over": (
        "r·n, of which a mean over r is taken", lambda m, x: m.f(x.repeat(3, 1)).view(3, -1, 3).mean(0), layer(), (5,)),
    "shifted in place": ("features are shifted, not examples", shifted, layer(), (5,)),
    "in-place ops": (
        "they are functions of one example", lambda m, x: m.f(x).mul_(2).add_(1).relu_(), layer(), (5,)),
    "scaled in place by a norm": ("one norm for each example", scaled_by_hand, layer(), (5,)),
    "a checkpointed part": (
        "the same ops, run twice", lambda m, x: checkpoint(lambda v: torch.tanh(m.f(v)), x, use_reentrant=False),
        layer(), (5,)),
    "a cast to its own precision": ("an element stays where it is", lambda m, x: m.f(x.to(torch.float64)).double(),
        layer(), (5,)),
    "a detached target of the same example": (
        "no other example is read", lambda m, x: m.f(x) - m.f(x.flip(-1)).detach(), layer(), (5,)),
    "losses of several kinds": ("each is one example's", loss_of_losses, layer(), (5,)),
    "a feature dim of none": (
        "there is nothing to mix", lambda m, x: m.f(x) + m.g(x[:, :0]), layer(g=nn.Linear(0, 3)), (5,)),
    "every dim one": (
        "dims of one are told from N", lambda m, x: m.f(m.g(x)),
        {"f": nn.Linear(1, 1), "g": nn.Conv1d(1, 1, 1)}, (1, 1)),
}  # fmt: skip

APART = {**LAYOUTS, **OVER_ANOTHER_DIM, **LOOKED_UP, **MADE, **PROGRAMS}
