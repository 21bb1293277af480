"""Random models of sequences of any length: an input [N, T, D], ops that take every T, a pooling, a loss."""

import random

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Sequence", "drawn"]

#: What is made of h [N, T, D], by a line of Python; p and q are modules or parameters of the model.
OPS = (
    ("h = self.{}(h)", "linear"), ("h = torch.tanh(self.{}(h))", "linear"), ("h = self.{}(h)", "norm"),
    ("h = h + self.{}(h)", "linear"), ("h = h * self.{}", "scale"), ("h = h + self.{}", "scale"),
    ("h = h + self.{}[: h.shape[1]]", "table"), ("h = h * self.{}.weight[None, : h.shape[1]]", "embedding"),
    ("h = h + self.{}(torch.arange(h.shape[1]))", "embedding"),
    ("h = F.softmax(h, 1) * self.{}", "scale"), ("h = h - h.mean(1, keepdim=True)", ""), ("h = h.cumsum(1)", ""),
    ("h = h.flip(1)", ""), ("h = h.roll(1, 1)", ""), ("h = h[:, 1:]", ""), ("h = h[:, ::2]", ""),
    ("h = F.pad(h, (0, 0, 1, 0))", ""), ("h = torch.cat([h, h[:, :1]], 1)", ""),
    ("h = torch.cat([h, h.flip(1)], 1)", ""),
    ("h = h / h.shape[1] ** 0.5", ""), ("h = self.{}(h.transpose(1, 2)).transpose(1, 2)", "convolution"),
    ("h = self.{}(h.transpose(1, 2)).transpose(1, 2)", "strided"),
    ("h = self.{}(h.reshape(-1, h.shape[2])).reshape(h.shape[0], -1, h.shape[2])", "linear"),
    ("h = self.{}(h.transpose(0, 1)).transpose(0, 1)", "linear"), ("h = h @ h.mT @ h / h.shape[1]", ""),
    ("h = F.scaled_dot_product_attention(self.{}(h), h, h)", "linear"),
    ("h = F.scaled_dot_product_attention(h, self.{}(h), h, is_causal=True)", "linear"),
    ("h = torch.relu(h) + h.amax(1, keepdim=True)", ""), ("h = self.{}(h)[0]", "recurrent"),
    ("h = self.{}(h)", "encoder"),
    ("h = torch.einsum('nti,oi->nto', h, self.{}.weight)", "linear"),
    ("h = h * torch.sigmoid(self.{}(h[:, -1:]))", "linear"),
    ("h = h.unflatten(2, (2, -1)).transpose(1, 2).reshape(h.shape[0], -1, h.shape[2] // 2).repeat(1, 1, 2)", ""),
    ("h = F.max_pool1d(h.transpose(1, 2), 3, 1, 1).transpose(1, 2)", ""), ("h = h.sort(1)[0]", ""),
    ("h = h.tril()", ""), ("h = h * (torch.arange(h.shape[1])[:, None] % 3)", ""),
    ("h = h.masked_fill(h.abs() > 2, 0.0)", ""), ("h = h.topk(2, 1)[0] if self.training else h", ""),
)  # fmt: skip
POOLS = ("h.mean(1)", "h.amax(1)", "h[:, -1]", "h[:, 0]", "h.sum(1) / h.shape[1]", "h.logsumexp(1)")
LONGEST = 40


def made(kind, width, rng):
    """A module, or a parameter, of a kind."""
    kinds = {
        "linear": lambda: nn.Linear(width, width, bias=rng.random() < 0.7),
        "norm": lambda: nn.LayerNorm(width),
        "scale": lambda: nn.Parameter(torch.randn(width)),
        "table": lambda: nn.Parameter(torch.randn(LONGEST, width)),
        "embedding": lambda: nn.Embedding(LONGEST, width),
        "convolution": lambda: nn.Conv1d(width, width, 3, padding=1, groups=rng.choice((1, 2))),
        "strided": lambda: nn.Conv1d(width, width, 2, stride=rng.choice((1, 2))),
        "recurrent": lambda: rng.choice((nn.RNN, nn.LSTM, nn.GRU))(width, width, batch_first=True),
        "encoder": lambda: nn.TransformerEncoderLayer(width, 2, width, 0.0, batch_first=True),
    }
    return kinds[kind]()


class Sequence(nn.Module):
    """[N, T, D] → [N, 3] by lines of Python, which ``str`` shows."""

    def __init__(self, lines, kinds, width, rng):
        super().__init__()
        for k, kind in enumerate(kinds):
            setattr(self, f"p{k}", made(kind, width, rng))
        self.head, self.lines = nn.Linear(width, 3), lines
        scope = {"torch": torch, "F": F}
        exec("def run(self, h):\n" + "".join(f"    {line}\n" for line in lines), scope)
        self.run = scope["run"]

    def forward(self, x):
        return self.head(self.run(self, x))

    def __str__(self):
        return "\n".join(self.lines)


def drawn(seed):
    """A model, and its width."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    width, lines, kinds = rng.choice((4, 6, 8)), [], []
    for _ in range(rng.randint(1, 5)):
        line, kind = rng.choice(OPS)
        if kind:
            line = line.format(f"p{len(kinds)}")
            kinds.append(kind)
        lines.append(line)
    lines.append(f"return {rng.choice(POOLS)}")
    return Sequence(lines, kinds, width, rng).double(), width
