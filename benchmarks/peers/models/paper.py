"""The seven models of Lee and Kifer's paper: six of ``docs/examples/paper_models.py``, and its transformer."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.peers.models.case import Batch, Case, by_class, images
from paper_models import build

__all__ = ["paper_cases"]

#: Model → channels, pixels of a side, examples of a batch, width where small.
FULL = {
    "mlp": (1, 28, 128, 0.25),
    "cnn": (1, 28, 128, 0.25),
    "rnn": (1, 28, 128, 0.125),
    "lstm": (1, 28, 128, 0.125),
    "resnet18": (3, 32, 32, 0.125),
    "vgg11": (3, 32, 32, 0.03125),
}


class Transformer(nn.Module):
    """[N, T] → [N, 2]: frozen embeddings, one encoder layer, the mean over time, a linear layer."""

    def __init__(self, vocabulary: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width).requires_grad_(False)
        self.layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify texts."""
        return self.head(self.layer(self.tokens(tokens)).mean(1))


def texts(vocabulary: int, length: int, n: int) -> Batch:
    """N texts of T tokens, each of one of two classes."""
    return torch.randint(vocabulary, (n, length)), torch.randint(2, (n,))


def paper_cases(small: bool) -> dict[str, Case]:
    """The seven by name, in the order of the paper."""
    found = {}
    for name, (channels, pixels, size, width) in FULL.items():
        make = partial(build, name, width=width if small else 1.0, channels=channels, image_size=pixels)
        found[name] = Case(make, images(channels, pixels, 10), by_class, 4 if small else size)
    vocabulary, width, heads, length = (50, 8, 2, 6) if small else (50_000, 200, 8, 512)
    make, batch = partial(Transformer, vocabulary, width, heads), partial(texts, vocabulary, length)
    found["transformer"] = Case(make, batch, by_class, 4 if small else 32)
    order = ("mlp", "cnn", "rnn", "lstm", "transformer", "resnet18", "vgg11")
    return {name: found[name] for name in order}
