"""Small models of images as people write them: ViT, ConvNeXt, Swin, U-Net."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.models.blocks import Block
from benchmarks.peers.models.case import Batch, Case, by_class, images
from benchmarks.peers.models.swin import Swin

__all__ = ["image_cases"]


class ViT(nn.Module):
    """[N, 3, size, size] → [N, 10]: patches of 4x4, a class token, learned positions, blocks."""

    def __init__(self, size: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, (size // 4) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Classify the images by what the class token has seen."""
        h = self.patches(image).flatten(2).transpose(1, 2)
        h = torch.cat((self.token.expand(h.shape[0], -1, -1), h), dim=1) + self.positions
        return self.head(self.norm(self.blocks(h))[:, 0])


class ConvNeXtBlock(nn.Module):
    """x + scale ⊙ W₂ gelu(W₁ norm(depthwise 7x7 (x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, h: Tensor) -> Tensor:
        """[N, width, H, W] → the same; the linear layers see the channels last."""
        x = self.norm(self.depthwise(h).permute(0, 2, 3, 1))
        x = self.scale * self.down(F.gelu(self.up(x)))
        return h + x.permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """[N, C, H, W] → the same, normalised over the channels at every place."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the channels last."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """[N, 3, size, size] → [N, 10]: a stem of 2x2 patches, two stages of blocks."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 2, 2), ChannelNorm(width))
        self.first = nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth)))
        self.down = nn.Sequential(ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2))
        self.second = nn.Sequential(*(ConvNeXtBlock(2 * width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(2 * width), nn.Linear(2 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Classify the images."""
        h = self.second(self.down(self.first(self.stem(image))))
        return self.head(self.norm(h.mean((2, 3))))


def convolutions(channels: int, width: int) -> nn.Module:
    """Two convolutions, each with a group norm and a SiLU."""
    parts: list[nn.Module] = []
    for features in (channels, width):
        parts += [nn.Conv2d(features, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """[N, 3, size, size] → [N, 4, size, size]: down by pools, up by transposed convolutions, joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolutions(3, width), convolutions(width, 2 * width)
        self.bottom, self.pool = convolutions(2 * width, 4 * width), nn.MaxPool2d(2)
        self.up2, self.join2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), convolutions(4 * width, 2 * width)
        self.up1, self.join1 = nn.ConvTranspose2d(2 * width, width, 2, 2), convolutions(2 * width, width)
        self.out = nn.Conv2d(width, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Score the class of every pixel."""
        a = self.first(image)
        b = self.second(self.pool(a))
        c = self.bottom(self.pool(b))
        b = self.join2(torch.cat((b, self.up2(c)), dim=1))
        return self.out(self.join1(torch.cat((a, self.up1(b)), dim=1)))


def by_pixel(output: Tensor, target: Tensor) -> Tensor:
    """[N, classes, H, W], [N, H, W] → [N]: the cross-entropy of every pixel, averaged over those of an example."""
    return F.cross_entropy(output, target, reduction="none").mean((1, 2))


def labelled_pixels(pixels: int, n: int) -> Batch:
    """N images, and one of four classes for every pixel."""
    return torch.randn(n, 3, pixels, pixels), torch.randint(4, (n, pixels, pixels))


def image_cases(small: bool) -> dict[str, Case]:
    """The models of images by name."""
    pixels, size = (16, 4) if small else (32, 32)
    builds: dict[str, Callable[[], nn.Module]] = {
        "vit": partial(ViT, pixels, *((8, 2, 1) if small else (192, 3, 6))),
        "convnext": partial(ConvNeXt, *((8, 1) if small else (64, 2))),
        "swin": partial(Swin, pixels // 2, *((8, 2) if small else (64, 2))),
    }
    found = {name: Case(build, images(3, pixels, 10), by_class, size) for name, build in builds.items()}
    unet = partial(UNet, 4 if small else 32)
    return {**found, "unet": Case(unet, partial(labelled_pixels, pixels), by_pixel, 4 if small else 16)}
