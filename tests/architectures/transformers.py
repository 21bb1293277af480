"""Small transformers as people write them: encoders, decoders, tied heads, rotary positions, windows."""

import math

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY, WIDTH, HEADS = 13, 8, 2


class Encoder(nn.Module):
    """nn.TransformerEncoder over embedded tokens, by time or by example first, with a padding mask."""

    def __init__(self, batch_first=True, norm_first=False, activation="relu", padded=False):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 16, dropout=0.0, batch_first=batch_first, norm_first=norm_first, activation=activation
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 4)
        self.batch_first, self.padded = batch_first, padded

    def forward(self, tokens):
        h = self.embedding(tokens)
        mask = tokens == 0 if self.padded else None
        h = self.encoder(h if self.batch_first else h.transpose(0, 1), src_key_padding_mask=mask)
        return self.head(h.mean(1 if self.batch_first else 0))


class EncoderDecoder(nn.Module):
    """nn.Transformer: a causal decoder that attends to an encoder, one embedding for both and the head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.transformer = nn.Transformer(WIDTH, HEADS, 1, 1, 16, dropout=0.0, batch_first=True)

    def forward(self, tokens):
        source, target = self.embedding(tokens), self.embedding(tokens.flip(1)[:, :3])
        mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=source.dtype)
        h = self.transformer(source, target, tgt_mask=mask, tgt_is_causal=True)
        return F.linear(h, self.embedding.weight).mean(1)


class CrossAttention(nn.Module):
    """nn.MultiheadAttention with other keys and values: its packed weight is cut in three."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **options)
        self.queries = nn.Parameter(torch.randn(1, 2, WIDTH))
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        y, weights = self.attention(self.queries.expand(x.shape[0], -1, -1), x, x.tanh())
        return self.head(y.mean(1)) * (1 + weights.square().sum((1, 2))[:, None])


class Block(nn.Module):
    """A pre-norm block with causal attention of torch, as in GPT-2."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)

    def forward(self, h):
        n, t, _ = h.shape
        q, k, v = (x.view(n, t, HEADS, -1).transpose(1, 2) for x in self.qkv(self.norms[0](h)).split(WIDTH, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(y.transpose(1, 2).reshape(n, t, WIDTH))
        return h + self.down(F.gelu(self.up(self.norms[1](h)), approximate="tanh"))


class GPT(nn.Module):
    """Learned positions of shape [1, T], the head tied to the token embedding, as a module or a function."""

    def __init__(self, head="module", layers=2):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(9, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        if head == "module":
            self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1]).unsqueeze(0)
        h = self.tokens(tokens) + self.positions(places)
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        return self.head(h) if hasattr(self, "head") else F.linear(h, self.tokens.weight)


class ALBERT(nn.Module):
    """One block for every layer, embeddings factorised, the head tied to their first factor."""

    def __init__(self, layers=3):
        super().__init__()
        self.tokens, self.project = nn.Embedding(VOCABULARY, 4), nn.Linear(4, WIDTH)
        self.block, self.layers = Block(), layers
        self.back = nn.Linear(WIDTH, 4)

    def forward(self, tokens):
        h = self.project(self.tokens(tokens))
        for _ in range(self.layers):
            h = self.block(h)
        return F.linear(torch.tanh(self.back(h)), self.tokens.weight)


class LLaMA(nn.Module):
    """RMS norm, rotary positions, grouped queries, SwiGLU, an untied head."""

    def __init__(self, layers=2):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.RMSNorm(WIDTH),
                    "q": nn.Linear(WIDTH, WIDTH, bias=False),
                    "kv": nn.Linear(WIDTH, WIDTH, bias=False),
                    "o": nn.Linear(WIDTH, WIDTH, bias=False),
                    "gate": nn.Linear(WIDTH, 12, bias=False),
                    "up": nn.Linear(WIDTH, 12, bias=False),
                    "down": nn.Linear(12, WIDTH, bias=False),
                    "norm2": nn.RMSNorm(WIDTH),
                }
            )
            for _ in range(layers)
        )
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens):
        n, t = tokens.shape
        h = self.tokens(tokens)
        angles = torch.arange(t, dtype=h.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=h.dtype)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

        def rotated(x):
            a, b = x.chunk(2, dim=-1)
            return x * cos + torch.cat((-b, a), -1) * sin

        for layer in self.layers:
            x = layer["norm"](h)
            q = layer["q"](x).view(n, t, 2, 4).transpose(1, 2)
            k, v = layer["kv"](x).view(n, t, 2, 1, 4).unbind(2)
            k, v = (z.transpose(1, 2) for z in (k, v))
            y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True, enable_gqa=True)
            h = h + layer["o"](y.transpose(1, 2).reshape(n, t, WIDTH))
            x = layer["norm2"](h)
            h = h + layer["down"](F.silu(layer["gate"](x)) * layer["up"](x))
        return self.head(self.norm(h))


class ALiBi(nn.Module):
    """Attention written out, with a bias that grows with distance, learned slopes and learned temperature."""

    def __init__(self):
        super().__init__()
        self.tokens, self.qkv = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.slopes, self.temperature = nn.Parameter(torch.rand(HEADS, 1, 1)), nn.Parameter(torch.tensor(0.7))
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, tokens):
        n, t = tokens.shape
        q, k, v = self.qkv(self.tokens(tokens)).view(n, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        places = torch.arange(t)
        distance = (places[None, :] - places[:, None]).abs().to(q.dtype)
        scores = q @ k.mT / (math.sqrt(q.shape[-1]) * self.temperature) - self.slopes * distance
        return self.head((scores.softmax(-1) @ v).transpose(1, 2).flatten(2).mean(1))


class Windows(nn.Module):
    """Swin: shifted windows of an image, attention within each, a table of relative positions looked up by index."""

    def __init__(self, size=4, window=2, shift=1):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, WIDTH, 2, 2), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, HEADS))
        grid = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = (grid[:, :, None] - grid[:, None]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", relative[..., 0] * (2 * window - 1) + relative[..., 1])
        self.merge, self.head = nn.Linear(4 * WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 4)
        self.size, self.window, self.shift = size, window, shift

    def forward(self, image):
        n, s, w = image.shape[0], self.size, self.window
        h = self.patches(image).flatten(2).transpose(1, 2).view(n, s, s, WIDTH)
        x = torch.roll(self.norm(h), (-self.shift, -self.shift), (1, 2))
        x = x.view(n, s // w, w, s // w, w, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, WIDTH)
        q, k, v = self.qkv(x).reshape(-1, w * w, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(w * w, w * w, HEADS).permute(2, 0, 1)
        y = ((q @ k.mT + bias).softmax(-1) @ v).transpose(1, 2).reshape(-1, w * w, WIDTH)
        y = self.out(y).view(n, s // w, s // w, w, w, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(n, s, s, WIDTH)
        h = h + torch.roll(y, (self.shift, self.shift), (1, 2))
        parts = [h[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return self.head(self.merge(torch.cat(parts, -1)).mean((1, 2)))


class ViT(nn.Module):
    """Patches by a convolution, a class token repeated for every example, learned positions, layer scale."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, 5, WIDTH))
        self.block, self.scale = Block(), nn.Parameter(torch.randn(WIDTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, image):
        h = self.patches(image).flatten(2).transpose(1, 2)
        h = torch.cat((self.token.expand(h.shape[0], -1, -1), h), 1) + self.positions
        return self.head(self.norm(h + self.scale * self.block(h))[:, 0])
