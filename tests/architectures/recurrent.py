"""Small recurrent networks, bags of words, and an unrolled reconstruction from Fourier coefficients."""

import torch
from torch import nn

VOCABULARY = 13


class Recurrent(nn.Module):
    """A recurrent layer over the rows of an image, or over embedded tokens; a head on its last output."""

    def __init__(self, layer, embedded=False, first_states=False, time_first=False):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 6, padding_idx=0) if embedded else nn.Identity()
        self.layer, self.time_first = layer, time_first
        directions = 2 if layer.bidirectional else 1
        size = getattr(layer, "proj_size", 0) or layer.hidden_size
        self.first = nn.Parameter(torch.randn(directions * layer.num_layers, 1, size)) if first_states else None
        self.head = nn.Linear(directions * size, 4)

    def forward(self, x):
        h = self.embed(x)
        h = h.transpose(0, 1) if self.time_first else h
        first = None if self.first is None else self.first.expand(-1, x.shape[0], -1).contiguous()
        output, _ = self.layer(h, first)
        return self.head(output[-1] if self.time_first else output[:, -1])


class Cells(nn.Module):
    """A cell in a loop over the steps, its state kept by the forward."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(cell.hidden_size, 4)

    def forward(self, x):
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Minimal(nn.Module):
    """A gated cell written by hand: u = σ(W x + U h), h' = u h + (1 − u) tanh(V x)."""

    def __init__(self, features=6, width=5):
        super().__init__()
        self.gate, self.memory = nn.Linear(features, width), nn.Linear(width, width, bias=False)
        self.content, self.head = nn.Linear(features, width), nn.Linear(width, 4)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.memory.in_features)
        for step in x.unbind(1):
            u = torch.sigmoid(self.gate(step) + self.memory(h))
            h = u * h + (1 - u) * torch.tanh(self.content(step))
        return self.head(h)


class Bag(nn.Module):
    """A text classifier over a bag of words."""

    def __init__(self, weighted=False, **options):
        super().__init__()
        self.words = nn.EmbeddingBag(VOCABULARY, 5, **options)
        self.weights = nn.Parameter(torch.rand(VOCABULARY)) if weighted else None
        self.head = nn.Linear(5, 4)

    def forward(self, tokens):
        weights = None if self.weights is None else self.weights[tokens]
        return self.head(self.words(tokens, per_sample_weights=weights))


class Reconstruction(nn.Module):
    """Three gradient steps on ‖M(F z − y)‖², each with a complex filter in Fourier space and a regularising network."""

    def __init__(self, size=6, steps=3):
        super().__init__()
        self.register_buffer("mask", (torch.arange(size * size).reshape(size, size) % 3 > 0).to(torch.float64))
        self.filters = nn.Parameter(torch.randn(steps, size, size, dtype=torch.complex128) / 4)
        self.rates = nn.Parameter(torch.full((steps,), 0.5))
        self.denoise = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(size * size, 4)

    def forward(self, image):
        measured = self.mask * torch.fft.fft2(image)
        z = torch.fft.ifft2(measured)
        for rate, filtered in zip(self.rates, self.filters, strict=True):
            residual = self.mask * torch.fft.fft2(z) - measured
            z = z - rate * torch.fft.ifft2(filtered * residual)
            regular = self.denoise(torch.view_as_real(z).movedim(-1, 1))
            z = z + torch.view_as_complex(regular.movedim(1, -1).contiguous())
        return self.head(z.abs().flatten(1))
