"""Networks in which a view makes a channel of several filters: decoders, generators, shuffles by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def codes():
    return torch.randn(2, 12, generator=torch.Generator().manual_seed(1))


def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def generator(*between):
    """Linear -> [16, 2, 2] -> twice as large -> twice as large: 4 rows of the Linear make a channel."""
    return nn.Sequential(
        nn.Linear(12, 64), nn.Unflatten(1, (16, 2, 2)), *between, nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1),
    )  # fmt: skip


class Autoencoder(nn.Module):
    """The decoder takes the shape of what the encoder made."""

    def __init__(self):
        super().__init__()
        self.encoder, self.code = nn.Conv2d(3, 16, 4, 2, 1), nn.Linear(16 * 16, 6)
        self.up, self.decoder = nn.Linear(6, 16 * 16), nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def forward(self, x):
        h = F.relu(self.encoder(x))
        return self.decoder(F.relu(self.up(self.code(h.flatten(1)))).view(h.shape))


class ShuffledByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        h = self.a(x)
        b, c, height, width = h.shape
        h = h.view(b, c // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return self.out(self.b(h.reshape(b, c // 4, 2 * height, 2 * width)))


class Unpatched(nn.Module):
    """Tokens -> patches of 4 x 4 pixels -> an image, channels innermost."""

    def __init__(self):
        super().__init__()
        self.up, self.out = nn.Linear(12, 4 * 4 * 8), nn.Conv2d(8, 3, 3, 1, 1)

    def forward(self, x):
        patches = self.up(x[:, None].expand(-1, 4, -1)).reshape(x.size(0), 2, 2, 4, 4, -1)
        return self.out(torch.einsum("nhwpqc->nchpwq", patches).reshape(x.size(0), -1, 8, 8))


class Summed(nn.Module):
    """A split channel meets the channel of a convolution, after a norm of its own."""

    def __init__(self, norm=True):
        super().__init__()
        self.channels = 16
        self.up, self.norm = nn.Linear(12, 64), nn.BatchNorm2d(16) if norm else nn.Identity()
        self.side, self.out = nn.Conv2d(1, 16, 1), nn.Conv2d(16, 4, 3, 1, 1)

    def forward(self, x):
        h = self.norm(self.up(x).view(x.size(0), self.channels, 2, 2))
        return self.out(F.relu(h + self.side(x[:, :4].reshape(-1, 1, 2, 2))))


class Maxout(nn.Module):
    """Pieces of a fixed number: what is left open in the view goes."""

    def __init__(self, sizes=(-1, 4), over=2):
        super().__init__()
        self._sizes, self._over = sizes, over  # no attributes that follow: those have public names
        self.up, self.head = nn.Linear(12, 32), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.up(x).view(x.size(0), *self._sizes).amax(self._over))
