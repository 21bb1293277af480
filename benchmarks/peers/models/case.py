"""One model of the benchmark: how to build it, on what examples, with what loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Case", "by_class", "by_token", "images", "tokens"]

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """A model, a batch and a loss.

    Attributes:
        build: makes the model, with random weights.
        batch: N → N inputs and N targets, at random.
        loss_fn: output, target → the N losses.
        size: N, the examples of a batch.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[int], Batch]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    size: int


def by_class(output: Tensor, target: Tensor) -> Tensor:
    """[N, classes], [N] → [N]: the cross-entropy of one class an example."""
    return F.cross_entropy(output, target, reduction="none")


def by_token(output: Tensor, target: Tensor) -> Tensor:
    """[N, T, V], [N, T] → [N]: the cross-entropy of every token, averaged over the tokens of an example."""
    return F.cross_entropy(output.transpose(1, 2), target, reduction="none").mean(1)


def images(channels: int, pixels: int, classes: int) -> Callable[[int], Batch]:
    """N → images [N, channels, pixels, pixels] and their classes [N]."""
    return lambda n: (torch.randn(n, channels, pixels, pixels), torch.randint(classes, (n,)))


def tokens(vocabulary: int, length: int) -> Callable[[int], Batch]:
    """N → tokens [N, T], and the token after each."""

    def batch(n: int) -> Batch:
        ids = torch.randint(vocabulary, (n, length + 1))
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    return batch
