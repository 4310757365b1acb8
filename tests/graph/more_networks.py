"""More small hand-made networks: recurrent layers, folding, sizes made of two attributes, windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Recurrent(nn.Module):
    """torch's own recurrent layers, whose first state is a constant as wide as an attribute says."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.up, self.rnn = nn.Linear(7, 8), kind(8, 12, batch_first=True, **options)
        self.head = nn.Linear((options.get("proj_size") or 12) * (1 + self.rnn.bidirectional), 5)

    def forward(self, x):
        return self.head(self.rnn(self.up(x))[0].mean(1))


class Unfolded(nn.Module):
    """Neighbourhoods side by side, weighted, and folded back."""

    def __init__(self):
        super().__init__()
        self.up, self.mix, self.head = nn.Conv2d(3, 8, 1), nn.Linear(72, 6), nn.Linear(14, 5)

    def forward(self, x):
        x = self.up(x)
        near = F.unfold(x, 3, padding=1)
        back = F.fold(near * near.sigmoid(), x.shape[-2:], 3, padding=1)
        mixed = self.mix(near.transpose(1, 2)).relu()
        return self.head(torch.cat([back.mean((2, 3)), mixed.mean(1)], 1))


class Product(nn.Module):
    """A view whose size is the product of two attributes; which of them is a width must be found."""

    def __init__(self):
        super().__init__()
        self.keys, self.heads, self.width = 3, 2, 4
        self.up, self.qkv = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 24, 1)
        self.norm, self.out, self.head = nn.BatchNorm2d(24), nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        b, _, h, w = x.shape
        x = self.norm(self.qkv(self.up(x))).reshape(b, self.heads, self.keys * self.width, h * w)
        q, k, v = x.transpose(2, 3).chunk(3, 3)
        y = (q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)).softmax(-1) @ v
        return self.head(self.out(y.transpose(2, 3).reshape(b, -1, h, w)).mean((2, 3)))


class Quotient(nn.Module):
    """A split whose size is the quotient of two attributes."""

    def __init__(self):
        super().__init__()
        self.channels, self.paths = 8, 2
        self.up = nn.Conv2d(3, 8, 1)
        self.branches = nn.ModuleList(nn.Conv2d(4, 6, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        parts = self.up(x).split(self.channels // self.paths, 1)
        y = sum(branch(part).relu() for branch, part in zip(self.branches, parts, strict=True))
        return self.head(y.mean((2, 3)))


class Windows(nn.Module):
    """Attention in windows: a table of biases picked by constants, and a mask kept in a float buffer."""

    def __init__(self, dim=8, heads=2, side=3):
        super().__init__()
        self.heads, self.side = heads, side
        self.up = nn.Conv2d(3, dim, 1)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads))
        place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        apart = place[:, None] - place[None] + side - 1
        self.register_buffer("index", apart[..., 0] * (2 * side - 1) + apart[..., 1])
        self.register_buffer("mask", torch.where(torch.arange(4 * 81).view(4, 9, 9) % 7 == 0, -2.0, 0.0))
        self.norm, self.head = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 5)

    def forward(self, x):
        x = self.up(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        s = self.side
        windows = x.view(b, h // s, s, w // s, s, c).transpose(2, 3).reshape(-1, s * s, c)
        qkv = self.qkv(windows).view(len(windows), s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = q @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(s * s, s * s, -1).permute(2, 0, 1)
        weights = weights + bias.unsqueeze(0)
        weights = weights.view(b, -1, self.heads, s * s, s * s) + self.mask[None, :, None]
        y = weights.view(-1, self.heads, s * s, s * s).softmax(-1) @ v
        y = self.out(y.transpose(1, 2).reshape(len(windows), s * s, c))
        y = y.view(b, h // s, w // s, s, s, c).transpose(2, 3).reshape(b, h, w, c)
        x = x + y
        quarters = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return self.head(self.norm(torch.cat(quarters, -1)).mean((1, 2)))


def image(batch=2):
    return torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(7))


def tokens(batch=2):
    return torch.randn(batch, 4, 7, generator=torch.Generator().manual_seed(7))


MORE = {
    "lstm": (lambda: Recurrent(num_layers=2, bidirectional=True), tokens),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2), tokens),
    "rnn": (lambda: Recurrent(nn.RNN), tokens),
    "unfolded": (Unfolded, image),
    "product": (Product, image),
    "quotient": (Quotient, image),
    "windows": (Windows, image),
}
