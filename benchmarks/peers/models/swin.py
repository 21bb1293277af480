"""Swin as people write it: windows beside the examples, a table of relative positions, every second block shifted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Swin"]

WINDOW, CLASSES = 4, 10


def cut(x: Tensor, side: int) -> Tensor:
    """[N, side, side, C] → [N · windows, WINDOW², C]."""
    k = side // WINDOW
    return x.view(-1, k, WINDOW, k, WINDOW, x.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW**2, x.shape[-1])


def joined(x: Tensor, side: int) -> Tensor:
    """[N · windows, WINDOW², C] → [N, side, side, C]."""
    k = side // WINDOW
    x = x.view(-1, k, k, WINDOW, WINDOW, x.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, side, side, x.shape[-1])


def relative_places() -> Tensor:
    """The row of the table for every pair of places of a window: [WINDOW⁴]."""
    grid = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    apart = (grid[:, :, None] - grid[:, None]) + WINDOW - 1
    return (apart[0] * (2 * WINDOW - 1) + apart[1]).flatten()


def mask_of(side: int, shift: int) -> Tensor:
    """−100 where two places of a shifted window were no neighbours: [windows, 1, WINDOW², WINDOW²]."""
    part = torch.zeros(side)
    part[side - WINDOW : side - shift], part[side - shift :] = 1, 2
    region = cut((3 * part[:, None] + part)[None, :, :, None], side)[..., 0]
    return -100.0 * (region[:, :, None] != region[:, None]).float()[:, None]


class WindowBlock(nn.Module):
    """h [N, side, side, width] → the same: attention within (shifted) windows, then two linear layers."""

    def __init__(self, side: int, width: int, heads: int, shift: int) -> None:
        super().__init__()
        self.side, self.heads, self.shift = side, heads, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(0.02 * torch.randn((2 * WINDOW - 1) ** 2, heads))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("places", relative_places(), persistent=False)
        self.register_buffer("mask", mask_of(side, shift) if shift else None, persistent=False)

    def attention(self, x: Tensor) -> Tensor:
        """[N · windows, WINDOW², width] → the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.table[self.places].view(WINDOW**2, WINDOW**2, self.heads).permute(2, 0, 1)
        scores = q @ k.mT * q.shape[-1] ** -0.5 + bias
        if self.mask is not None:
            windows = self.mask.shape[0]
            scores = (scores.unflatten(0, (-1, windows)) + self.mask).flatten(0, 1)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    def forward(self, h: Tensor) -> Tensor:
        """Add both parts to what came in."""
        x = torch.roll(self.norm1(h), (-self.shift, -self.shift), (1, 2))
        x = joined(self.attention(cut(x, self.side)), self.side)
        h = h + torch.roll(x, (self.shift, self.shift), (1, 2))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


class Merge(nn.Module):
    """[N, H, W, C] → [N, H/2, W/2, 2C]: the four places of a square side by side, normalised and projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.project = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Take every second place, four times."""
        parts = [h[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.project(self.norm(torch.cat(parts, dim=-1)))


class Swin(nn.Module):
    """[N, 3, 2 side, 2 side] → [N, 10]: two stages of a plain and a shifted block each."""

    def __init__(self, side: int, width: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        wide, half = 2 * width, side // 2
        shifts = (0, WINDOW // 2 if half > WINDOW else 0)  # one window alone is not shifted
        self.first = nn.Sequential(*(WindowBlock(side, width, heads, s) for s in (0, WINDOW // 2)))
        self.merge = Merge(width)
        self.second = nn.Sequential(*(WindowBlock(half, wide, 2 * heads, s) for s in shifts))
        self.norm, self.head = nn.LayerNorm(wide), nn.Linear(wide, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Classify the images."""
        h = self.patches(image).permute(0, 2, 3, 1)
        h = self.second(self.merge(self.first(h)))
        return self.head(self.norm(h).mean((1, 2)))
