"""What transformers over tokens and over patches share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Block", "heads_apart", "heads_joined"]


def heads_apart(x: Tensor, heads: int) -> Tensor:
    """[N, T, heads · d] → [N, heads, T, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def heads_joined(x: Tensor) -> Tensor:
    """[N, heads, T, d] → [N, T, heads · d]."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """[N, T, width] → [N, T, width]: queries, keys and values from one layer."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        """Attend to all places, or to those before."""
        q, k, v = (heads_apart(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(heads_joined(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)))


class Block(nn.Module):
    """[N, T, width] → [N, T, width]: a pre-norm block of attention and two linear layers."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, causal=causal)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Add both parts to what came in."""
        h = h + self.attention(self.norm1(h))
        return h + self.down(F.gelu(self.up(self.norm2(h))))
