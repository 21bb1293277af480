"""Small language models as people write them: GPT-2, LLaMA, LoRA layers in a frozen GPT-2, a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.models.blocks import Block, heads_apart, heads_joined
from benchmarks.peers.models.case import Case, by_token, tokens

__all__ = ["language_cases"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The extents of a language model; ``hidden`` is the width of a gated layer."""

    vocabulary: int
    width: int
    heads: int
    layers: int
    length: int
    hidden: int
    experts: int
    rank: int
    examples: int


FULL = Shape(vocabulary=5000, width=256, heads=4, layers=4, length=128, hidden=688, experts=4, rank=8, examples=16)
SMALL = Shape(vocabulary=19, width=8, heads=2, layers=2, length=6, hidden=10, experts=2, rank=2, examples=4)


class GPT2(nn.Module):
    """[N, T] → [N, T, vocabulary]: learned positions, causal blocks, the head tied to the embedding."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(s.vocabulary, s.width), nn.Embedding(s.length, s.width)
        self.blocks = nn.ModuleList(Block(s.width, s.heads, causal=True) for _ in range(s.layers))
        self.norm, self.head = nn.LayerNorm(s.width), nn.Linear(s.width, s.vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Score the next token at every place."""
        places = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0)
        h = self.tokens(tokens) + self.positions(places)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


class LoRALinear(nn.Module):
    """y = W x + b + B A x, with W and b frozen."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.normal_(self.b.weight, std=0.02)  # as after a few steps: at the usual zero A has no gradient

    def forward(self, x: Tensor) -> Tensor:
        """Add the update to the frozen layer."""
        return self.base(x) + self.b(self.a(x))


def lora(s: Shape) -> nn.Module:
    """A frozen GPT-2 whose attention projections are updated at a low rank."""
    model = GPT2(s).requires_grad_(False)
    for block in model.blocks:
        attention = block.attention
        attention.qkv, attention.out = LoRALinear(attention.qkv, s.rank), LoRALinear(attention.out, s.rank)
    return model


class Rotary(nn.Module):
    """x [N, heads, T, d] → x with each pair of features turned by an angle that grows with its place."""

    def __init__(self, extent: int) -> None:
        super().__init__()
        powers = torch.arange(0, extent, 2).float() / extent
        self.register_buffer("frequencies", 10_000.0**-powers, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn the two halves of the features against each other."""
        places = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
        angles = torch.outer(places, self.frequencies).repeat(1, 2)
        a, b = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat((-b, a), dim=-1) * angles.sin()


class GroupedAttention(nn.Module):
    """[N, T, width] → [N, T, width]: rotary positions; two heads of queries share one of keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.extent = heads, width // heads
        self.q, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, width // 2, bias=False) for _ in range(2))
        self.rotary = Rotary(self.extent)

    def repeated(self, x: Tensor) -> Tensor:
        """[N, heads / 2, T, d] → [N, heads, T, d]."""
        return x[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the places before."""
        q = self.rotary(heads_apart(self.q(x), self.heads))
        k = self.repeated(self.rotary(heads_apart(self.k(x), self.heads // 2)))
        v = self.repeated(heads_apart(self.v(x), self.heads // 2))
        return self.out(heads_joined(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


class SwiGLU(nn.Module):
    """y = W₃ (silu(W₁ x) ⊙ W₂ x)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate, then project back."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Experts(nn.Module):
    """y = Σ_e softmax(R x)_e expert_e(x): every expert sees every token."""

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(width, hidden) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the experts, token by token."""
        gates = self.router(x).softmax(-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return (outputs * gates.unsqueeze(-2)).sum(-1)


class LLaMA(nn.Module):
    """[N, T] → [N, T, vocabulary]: RMS norms, rotary positions, grouped queries, an untied head."""

    def __init__(self, s: Shape, feed_forward: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.tokens = nn.Embedding(s.vocabulary, s.width)
        self.attentions = nn.ModuleList(GroupedAttention(s.width, s.heads) for _ in range(s.layers))
        self.feed_forwards = nn.ModuleList(feed_forward() for _ in range(s.layers))
        self.norms = nn.ModuleList(nn.RMSNorm(s.width) for _ in range(2 * s.layers + 1))
        self.head = nn.Linear(s.width, s.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score the next token at every place."""
        h, norms = self.tokens(tokens), iter(self.norms)
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            h = h + attention(next(norms)(h))
            h = h + feed_forward(next(norms)(h))
        return self.head(next(norms)(h))


def language_cases(small: bool) -> dict[str, Case]:
    """The language models by name."""
    s = SMALL if small else FULL
    builds: dict[str, Callable[[], nn.Module]] = {
        "gpt2": lambda: GPT2(s),
        "lora": lambda: lora(s),
        "llama": lambda: LLaMA(s, lambda: SwiGLU(s.width, s.hidden)),
        "moe": lambda: LLaMA(s, lambda: Experts(s.width, s.hidden // 2, s.experts)),
    }
    return {name: Case(build, tokens(s.vocabulary, s.length), by_token, s.examples) for name, build in builds.items()}
