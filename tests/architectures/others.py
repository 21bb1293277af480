"""Small convolutional networks, mixtures of experts, hypernetworks and reparametrised layers."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint


class ConvNeXt(nn.Module):
    """A depthwise convolution, layer norm with channels last, a bottleneck of linear layers, layer scale."""

    def __init__(self, width=6):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, width, 2, 2), nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 12), nn.Linear(12, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))
        self.head = nn.Linear(width, 4)

    def forward(self, image):
        h = self.stem(image)
        x = self.norm(self.depthwise(h).permute(0, 2, 3, 1))
        h = h + (self.scale * self.down(F.gelu(self.up(x)))).permute(0, 3, 1, 2)
        return self.head(h.mean((2, 3)))


class UNet(nn.Module):
    """Down by strides, up by transposed convolutions, joined with what went down; a loss of every pixel."""

    def __init__(self, width=4):
        super().__init__()
        self.first, self.down = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.norm = nn.GroupNorm(2, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1)
        self.out = nn.Conv2d(2 * width, 2, 1)

    def forward(self, image):
        a = torch.relu(self.first(image))
        b = torch.relu(self.norm(self.down(a)))
        return self.out(torch.cat((a, torch.relu(self.up(b))), 1)).mean((2, 3))


class DenseExperts(nn.Module):
    """Every expert sees every token; gates weigh them."""

    def __init__(self, experts=3, width=6):
        super().__init__()
        self.router, self.head = nn.Linear(width, experts), nn.Linear(width, 4)
        self.up, self.down = (nn.Parameter(torch.randn(experts, a, b)) for a, b in ((width, 5), (5, width)))

    def forward(self, x):
        gates = self.router(x).softmax(-1)
        y = torch.einsum("ntw,ewh->nteh", x, self.up).relu()
        return self.head(torch.einsum("nteh,ehw,nte->nw", y, self.down, gates))


class GatheredExperts(nn.Module):
    """The weights of the two best experts of every token, gathered; experts of no other token are read."""

    def __init__(self, experts=4, width=6):
        super().__init__()
        self.router, self.head = nn.Linear(width, experts), nn.Linear(width, 4)
        self.up, self.down = (nn.Parameter(torch.randn(experts, a, b)) for a, b in ((5, width), (width, 5)))

    def forward(self, x):
        n, t, w = x.shape
        flat = x.reshape(-1, w)
        gates, chosen = self.router(flat).softmax(-1).topk(2, dim=-1)
        inputs = flat.unsqueeze(1).expand(-1, 2, -1).reshape(-1, w)
        up, down = self.up[chosen.reshape(-1)], self.down[chosen.reshape(-1)]
        y = torch.bmm(down, torch.bmm(up, inputs.unsqueeze(-1)).relu()).squeeze(-1)
        y = (y * gates.reshape(-1, 1)).view(-1, 2, w).sum(1)
        return self.head(y.view(n, t, w).mean(1))


class Hypernetwork(nn.Module):
    """The weights of a layer come from the example: a matrix product for each."""

    def __init__(self):
        super().__init__()
        self.weights, self.features, self.head = nn.Linear(5, 12), nn.Linear(5, 4), nn.Linear(3, 4)

    def forward(self, x):
        w = self.weights(x).view(-1, 3, 4)
        return self.head(torch.bmm(w, self.features(x).unsqueeze(2)).squeeze(2))


class Siamese(nn.Module):
    """One branch called on both halves of the input."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x):
        a, b = (self.branch(half) for half in x.chunk(2, dim=1))
        return torch.stack((a @ torch.ones(3, dtype=x.dtype), (a - b).square().sum(1), (a * b).sum(1), b[:, 0]), 1)


class LoRA(nn.Module):
    """A frozen weight and two small trained ones, added as a product of the input, or of the weights."""

    def __init__(self, merged=False):
        super().__init__()
        self.base = nn.Linear(6, 5).requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(5, 2))
        self.head, self.merged = nn.Linear(5, 4), merged

    def forward(self, x):
        if self.merged:
            return self.head(F.linear(x, self.base.weight + self.b @ self.a, self.base.bias))
        return self.head(self.base(x) + F.linear(F.linear(x, self.a), self.b))


class Checkpointed(nn.Module):
    """Activations computed again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6)), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(checkpoint(self.body, x, use_reentrant=False))


def reparametrised(wrap):
    """A network whose first layer is ``wrap``ped: its weight is a function of parameters."""
    return nn.Sequential(wrap(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 4))


def spectral_in_eval():
    """Spectral norm with its vectors as they are."""
    return reparametrised(parametrizations.spectral_norm).eval()
