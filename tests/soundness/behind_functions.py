"""Models whose parameters reach their ops through functions, by what is done with them."""

import torch
from patterns import parameter
from torch import nn
from torch.nn import functional as F

__all__ = ["PULLED", "READ_ONCE", "SUBSTITUTED"]

w = parameter
LIN = F.linear
PLACES = torch.tensor([4, 0, 3])
FROZEN = nn.Parameter(torch.ones(2, 5, dtype=torch.float64), requires_grad=False)


def packed(m, x):
    """Three linear maps from one packed weight and bias, the second applied to other inputs."""
    parts = zip((x, x.flip(1), x.tanh()), m.w.chunk(3), m.b.chunk(3), strict=True)
    return torch.cat([LIN(*part).tanh() for part in parts], -1)


def assigned(m, x):
    """A slice of a copy overwritten by another parameter."""
    weight = m.w.clone()
    weight[:2] = m.v
    return LIN(x, weight)


def twice(m, x):
    """One slice of a weight, and its transpose."""
    part = m.w[:3]
    return LIN(torch.tanh(LIN(x, part)), part.t())


def attention(m, x):
    """Keys and values of other inputs than the queries: the packed weight is split."""
    other = x.flip(1)
    return m.a(x, other, other.tanh(), need_weights=False)[0]


#: A permutation, a regrouping, a copy, a repetition: the term is one of the parameter itself.
#: name: (forward of (model, x), parts, shape of one example)
SUBSTITUTED = {
    "t": (lambda m, x: LIN(x, m.w.t()), {"w": w(5, 3)}, (4, 5)),
    "mT of a batch of matrices": (
        lambda m, x: torch.bmm(x.transpose(0, 1), m.w.mT).transpose(0, 1), {"w": w(4, 2, 5)}, (4, 5)),
    "permuted, contiguous": (lambda m, x: F.conv1d(x, m.w.permute(2, 1, 0).contiguous()), {"w": w(2, 3, 4)}, (3, 6)),
    "moved": (lambda m, x: F.conv1d(x, m.w.movedim(0, -1)), {"w": w(2, 4, 3)}, (3, 6)),
    "grouped filters, permuted": (
        lambda m, x: F.conv1d(x, m.w.permute(2, 0, 1), groups=2), {"w": w(2, 3, 6)}, (4, 7)),
    "a matrix as a convolution": (lambda m, x: F.conv1d(x, m.w[:, :, None]), {"w": w(4, 3)}, (3, 6)),
    "a convolution as a matrix": (lambda m, x: LIN(x, m.w.flatten(1)), {"w": w(3, 2, 2, 2)}, (4, 8)),
    "a convolution as a matrix, squeezed": (lambda m, x: LIN(x, m.w.squeeze()), {"w": w(3, 8, 1, 1)}, (4, 8)),
    "heads": (
        lambda m, x: torch.einsum("nti,hdi->nhtd", x, m.w.view(2, 3, 5)), {"w": w(6, 5)}, (4, 5)),
    "heads, behind": (
        lambda m, x: torch.einsum("nti,ihd->nhtd", x, m.w.view(2, 3, 5).permute(2, 0, 1)), {"w": w(6, 5)}, (4, 5)),
    "copied": (lambda m, x: LIN(x, m.w.clone().t().clone()), {"w": w(5, 3)}, (5,)),
    "a bias repeated": (lambda m, x: x * 2 + m.w.expand(4, 5), {"w": w(5)}, (4, 5)),
    "a column repeated": (lambda m, x: LIN(x, m.w.expand(3, 5)), {"w": w(3, 1)}, (4, 5)),
    "a row repeated, transposed": (lambda m, x: LIN(x, m.w.expand(5, 3).t()), {"w": w(3)}, (4, 5)),
    "one element repeated": (lambda m, x: LIN(x, m.w.view(1, 1).expand(3, 5), m.b), {"w": w(1), "b": w(3)}, (4, 5)),
    "no dims repeated": (lambda m, x: LIN(x, m.w.expand(3, 5), m.b), {"w": w(), "b": w(3)}, (4, 5)),
    "a scale of channels": (lambda m, x: x * m.w.view(1, -1, 1), {"w": w(4)}, (4, 5)),
    "a scale of channels, unsqueezed": (lambda m, x: torch.maximum(x, m.w[:, None]), {"w": w(4)}, (4, 5)),
    "a divisor, transposed": (lambda m, x: x / m.w.t(), {"w": w(5, 4, positive=True)}, (4, 5)),
    "an exponent, transposed": (lambda m, x: (x.abs() + 0.1) ** m.w.t(), {"w": w(5, 4)}, (4, 5)),
    "a vector as a matrix": (lambda m, x: x @ m.w[:, None], {"w": w(5)}, (4, 5)),
    "W and its transpose": (
        lambda m, x: LIN(torch.tanh(LIN(x, m.w)), m.w.t()), {"w": w(3, 5)}, (4, 5)),
    "a square W and its transpose": (
        lambda m, x: LIN(torch.tanh(LIN(x, m.w)), m.w.t()), {"w": w(5, 5)}, (5,)),
    "a kernel and itself transposed": (
        lambda m, x: F.conv1d(F.conv1d(x, m.w).tanh(), m.w.transpose(0, 1)), {"w": w(3, 3, 2)}, (3, 6)),
}  # fmt: skip

#: Every element of the parameters is read at most once: the clipped sums are pulled back, and no gradient.
READ_ONCE = {
    "packed": (packed, {"w": w(9, 5), "b": w(9)}, (4, 5)),
    "packed attention": (attention, {"a": nn.MultiheadAttention(4, 2, batch_first=True)}, (3, 4)),
    "half of it": (lambda m, x: LIN(x, m.w[:3]), {"w": w(5, 5)}, (4, 5)),
    "a layer each": (lambda m, x: LIN(LIN(x, m.w[0], m.b[0]).tanh(), m.w[1], m.b[1]), {"w": w(2, 5, 5), "b": w(2, 5)},
        (4, 5)),
    "a layer each, unbound": (
        lambda m, x: LIN(LIN(x, m.w.unbind(2)[0]).tanh(), m.w.unbind(2)[1].t()), {"w": w(5, 5, 2)}, (4, 5)),
    "even and odd": (lambda m, x: LIN(x, m.w[::2]) * LIN(x, m.w[1::2]), {"w": w(6, 5)}, (4, 5)),
    "columns": (lambda m, x: LIN(x[..., :2], m.w[:, :2]) * LIN(x[..., 2:], m.w[:, 2:]), {"w": w(3, 5)}, (4, 5)),
    "quarters": (
        lambda m, x: LIN(x[..., :2], m.w[:2, :2]) * LIN(x[..., 2:], m.w[2:, 2:]) + LIN(x[..., :2], m.w[2:, :2]),
        {"w": w(4, 5)}, (4, 5)),
    "split, transposed": (
        lambda m, x: LIN(x, m.w.t().split([1, 4])[1]) * LIN(x, m.w.t()[:1]), {"w": w(5, 5)}, (4, 5)),
    "narrowed": (lambda m, x: LIN(x, m.w.narrow(0, 1, 2)) + LIN(x, m.w.narrow(0, 3, 2)), {"w": w(5, 5)}, (4, 5)),
    "picked": (lambda m, x: LIN(x, m.w[torch.tensor([4, 0, 3])]), {"w": w(5, 5)}, (4, 5)),
    "picked and the others": (
        lambda m, x: LIN(x, m.w[[4, 0, 3]]).sum(-1) * LIN(x, m.w.index_select(0, torch.tensor([2, 1]))).sum(-1),
        {"w": w(5, 5)}, (4, 5)),
    "picked by arange": (lambda m, x: LIN(x, m.w[torch.arange(1, 5)]), {"w": w(5, 5)}, (4, 5)),
    "flipped": (lambda m, x: LIN(x, m.w.flip(0)), {"w": w(3, 5)}, (4, 5)),
    "flipped, and the others": (
        lambda m, x: LIN(x, m.w.flip(0)[:2]) * LIN(x, m.w[:2]), {"w": w(4, 5)}, (4, 5)),
    "rolled": (lambda m, x: F.conv1d(x, m.w.roll(1, 2)), {"w": w(4, 3, 2)}, (3, 6)),
    "joined": (lambda m, x: LIN(x, torch.cat([m.w, m.v])), {"w": w(3, 5), "v": w(2, 5)}, (4, 5)),
    "joined and cut elsewhere": (
        lambda m, x: LIN(LIN(x, torch.cat([m.w, m.v])[1:4]), m.u[:, :3]), {"w": w(3, 5), "v": w(2, 5), "u": w(2, 4)},
        (4, 5)),
    "joined in pieces": (
        lambda m, x: LIN(x, torch.cat([m.w[:1], m.v, m.w[2:]])) + LIN(x, m.w[1:2]), {"w": w(3, 5), "v": w(2, 5)},
        (4, 5)),
    "stacked": (
        lambda m, x: torch.einsum("nti,koi->nkto", x, torch.stack([m.w, m.v])), {"w": w(3, 5), "v": w(3, 5)}, (4, 5)),
    "a diagonal": (lambda m, x: x * m.w.diagonal(), {"w": w(5, 5)}, (4, 5)),
    "merged rows of heads": (
        lambda m, x: LIN(x, m.w.view(5, 2, 3).permute(1, 2, 0).reshape(6, 5)), {"w": w(5, 6)}, (4, 5)),
    "two equal slices": (lambda m, x: LIN(x, m.w[:3]) * LIN(x.tanh(), m.w[:3]), {"w": w(5, 5)}, (4, 5)),
    "one slice twice": (twice, {"w": w(4, 5)}, (4, 5)),
}  # fmt: skip


#: Anything else: the gradients of the values are formed, and pulled back example by example.
PULLED = {
    "slices that overlap": (lambda m, x: LIN(x, m.w[:3]) * LIN(x, m.w[2:]), {"w": w(5, 5)}, (4, 5)),
    "slices that only look apart": (
        lambda m, x: LIN(x, m.w[::2]).sum(-1) * LIN(x, m.w[1::3]).sum(-1), {"w": w(6, 5)}, (4, 5)),
    "a slice and the whole": (lambda m, x: LIN(x, m.w[:3]).sum(-1) * LIN(x, m.w).sum(-1), {"w": w(5, 5)}, (4, 5)),
    "a slice and the whole transposed": (
        lambda m, x: LIN(torch.tanh(LIN(x, m.w[:4])), m.w.t()[:, :4]) + LIN(LIN(x, m.w), m.w.t()), {"w": w(6, 5)},
        (4, 5)),
    "W, its transpose, and a part": (
        lambda m, x: LIN(torch.tanh(LIN(x, m.w)), m.w.t()) * m.w.flatten()[None, 1:2].expand(4, 5), {"w": w(3, 5)},
        (4, 5)),
    "a slice and a slice of it": (
        lambda m, x: LIN(x, m.w[:3]).sum(-1) * LIN(x, m.w[:3][2:]).sum(-1), {"w": w(5, 5)}, (4, 5)),
    "flipped, overlapping": (lambda m, x: LIN(x, m.w.flip(0)[:3]) * LIN(x, m.w[:3]), {"w": w(5, 5)}, (4, 5)),
    "picked twice": (lambda m, x: LIN(x, m.w[torch.tensor([0, 2, 0])]), {"w": w(3, 5)}, (4, 5)),
    "picked by a buffer": (lambda m, x: LIN(x, m.w[m.i]), {"w": w(5, 5), "i": PLACES}, (4, 5)),
    "picked by a tensor of the user's": (lambda m, x: LIN(x, m.w[PLACES]), {"w": w(5, 5)}, (4, 5)),
    "joined with itself": (lambda m, x: LIN(x, torch.cat([m.w, m.v, m.w])), {"w": w(3, 5), "v": w(2, 5)}, (4, 5)),
    "joined with zeros": (
        lambda m, x: LIN(x, torch.cat([m.w, torch.zeros(2, 5, dtype=m.w.dtype)])), {"w": w(3, 5)}, (4, 5)),
    "padded": (lambda m, x: F.conv1d(x, F.pad(m.w, (1, 1))), {"w": w(4, 3, 2)}, (3, 6)),
    "joined with a frozen part": (
        lambda m, x: LIN(x, torch.cat([m.w, m.f])), {"w": w(3, 5), "f": FROZEN}, (4, 5)),
    "joined with a detached part": (
        lambda m, x: LIN(x, torch.cat([m.w[:2], m.w[2:].detach()])), {"w": w(3, 5)}, (4, 5)),
    "a slice assigned": (assigned, {"w": w(5, 5), "v": w(2, 5)}, (4, 5)),
    "a slice repeated": (lambda m, x: LIN(x, m.w[:1].expand(3, 5).flip(1)), {"w": w(3, 5)}, (4, 5)),
    "tiled": (lambda m, x: LIN(x, m.w.repeat(2, 1)), {"w": w(3, 5)}, (4, 5)),
    "windows": (lambda m, x: LIN(x, m.w.unfold(0, 5, 1)), {"w": w(8)}, (4, 5)),
    "the lower triangle": (lambda m, x: LIN(x, m.w.tril()), {"w": w(5, 5)}, (4, 5)),
    "A @ B + sigmoid(C)": (
        lambda m, x: LIN(x, m.a @ m.b + m.c.sigmoid()), {"a": w(3, 2), "b": w(2, 5), "c": w(3, 5)}, (4, 5)),
    "a temperature": (lambda m, x: LIN(x, m.w / m.t), {"w": w(3, 5), "t": w(1, positive=True)}, (4, 5)),
    "an inverse": (lambda m, x: x * (1 / m.w), {"w": w(5, positive=True)}, (4, 5)),
    "a deviation": (lambda m, x: LIN(x, m.m + F.softplus(m.r)), {"m": w(3, 5), "r": w(3, 5)}, (4, 5)),
    "a sum of both triangles": (lambda m, x: LIN(x, m.w + m.w.t()), {"w": w(5, 5)}, (4, 5)),
    "in many ops": (
        lambda m, x: LIN(x, m.w) * m.w[0] + LIN(x, m.w.exp()) * m.w.diagonal() - LIN(x, m.w.t()), {"w": w(5, 5)},
        (4, 5)),
    "a hypernetwork": (
        lambda m, x: LIN(x, m.h(m.z).view(3, 5)), {"h": nn.Linear(2, 15), "z": w(2)}, (4, 5)),
}  # fmt: skip
