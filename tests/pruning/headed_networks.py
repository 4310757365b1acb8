"""Networks in which a parameter [heads, width] meets a view into heads x width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def tokens():
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def nodes():
    generator = torch.Generator().manual_seed(1)
    edges = (torch.rand(6, 6, generator=generator) > 0.5).double() + torch.eye(6)
    return torch.cat([torch.randn(6, 8, generator=generator).double(), edges], 1)


class Relative(nn.Module):
    """Attention with content and position biases of every head, as in Transformer-XL (Dai et al., 2019)."""

    def __init__(self, laid="plain"):
        super().__init__()
        self.heads, self.width, self.laid = 4, 4, laid
        self.up, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
        self.q, self.k, self.v, self.out, self.position = (nn.Linear(16, 16) for _ in range(5))
        shape = {"swapped": (4, 4), "flat": (16,), "single": (4, 1, 4)}.get(laid, (4, 4))
        self.u, self.w = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(shape))
        self.table = nn.Parameter(torch.randn(5, 4, 4)) if laid == "table" else None

    def bias(self, parameter):
        if self.laid == "swapped":
            return parameter.t()
        return parameter.view(self.heads, -1) if self.laid == "flat" else parameter

    def forward(self, x):
        x = self.up(x)
        b, n, _ = x.shape
        q, k, v = (layer(x).view(b, n, self.heads, self.width) for layer in (self.q, self.k, self.v))
        place = self.position(x[:1]).view(1, n, self.heads, self.width)
        if self.table is not None:
            k = k + self.table
        if self.laid == "single":  # heads first, then positions
            content, moved = (q.transpose(1, 2) + p for p in (self.u, self.w))
        else:
            content, moved = ((q + self.bias(p)).transpose(1, 2) for p in (self.u, self.w))
        scores = content @ k.permute(0, 2, 3, 1) + moved @ place.permute(0, 2, 3, 1)
        mixed = (scores / 2).softmax(-1) @ v.transpose(1, 2)
        return self.head(self.out(mixed.transpose(1, 2).reshape(b, n, -1)))


class GraphAttention(nn.Module):
    """Velickovic et al., 2018: attention vectors of every head; adjacency lies beside the features."""

    def __init__(self, attend=True):
        super().__init__()
        self.heads, self.width, self.attend = 4, 6, attend
        self.up, self.head = nn.Linear(8, 24, bias=False), nn.Linear(24, 3)
        self.left, self.right = (nn.Parameter(torch.randn(1, 4, 6)) for _ in range(2))

    def forward(self, x):
        x, edges = x.split([8, 6], 1)
        z = self.up(x).view(-1, self.heads, self.width)
        if not self.attend:
            return self.head(F.elu(z * self.left + self.right).reshape(len(x), -1))
        scores = (z * self.left).sum(-1)[:, None] + (z * self.right).sum(-1)[None]
        mix = F.leaky_relu(scores).masked_fill(edges[..., None] == 0, -1e9).softmax(1)
        return self.head(F.elu(torch.einsum("ijh,jhd->ihd", mix, z)).reshape(-1, self.heads * self.width))


class Placed(nn.Module):
    """A learned map [C, H, W] is added to what a view makes of a Linear layer."""

    def __init__(self):
        super().__init__()
        self.up, self.place, self.out = (
            nn.Linear(8, 64),
            nn.Parameter(torch.randn(1, 16, 2, 2)),
            nn.Conv2d(16, 3, 1),
        )

    def forward(self, x):
        return self.out(F.relu(self.up(x[:, 0]).view(len(x), -1, 2, 2) + self.place))


class PerHead(nn.Module):
    """Every head has a matrix, a gain and a shift of its own."""

    def __init__(self):
        super().__init__()
        self.heads, self.width = 4, 4
        self.up, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
        self.matrix = nn.Parameter(torch.randn(4, 4, 4))
        self.gain, self.shift = (nn.Parameter(torch.randn(4, 4)) for _ in range(2))

    def forward(self, x):
        z = self.up(x).view(*x.shape[:2], self.heads, self.width)
        z = torch.einsum("bnhd,hde->bnhe", z, self.matrix) * self.gain + self.shift
        return self.head(F.gelu(z).flatten(2))
