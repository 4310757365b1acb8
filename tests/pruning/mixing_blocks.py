"""More blocks of random networks: those that move positions, mix them, or take statistics."""
# ruff: noqa: ARG002  every block takes the same

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pruning.blocks import Block, fits


class PixelShuffle(Block):
    def build(self, shape, old):
        fits(shape[1] % 4 == 0 and shape[2] <= 4)

    def forward(self, x, old):
        if self.a % 2:
            return F.max_pool2d(F.pixel_shuffle(x, 2), 2)
        b, c, h, w = x.shape
        y = x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        return F.avg_pool2d(y, 2)


class ToDepth(Block):
    def build(self, shape, old):
        fits(shape[1] < 6 and shape[2] % 2 == 0)

    def forward(self, x, old):
        return F.interpolate(F.pixel_unshuffle(x, 2), scale_factor=2.0, mode="nearest")


class Squeeze(Block):
    def build(self, shape, old):
        self.down, self.up = nn.Linear(shape[1], 4), nn.Linear(4, shape[1])

    def forward(self, x, old):
        gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * (gate[:, :, None, None] if self.a % 2 else gate.unflatten(1, (-1, 1, 1)))


class Shared(Block):
    def build(self, shape, old):
        self.conv = nn.Conv2d(shape[1], shape[1], 1)

    def forward(self, x, old):
        return self.conv(F.relu(self.conv(x)))


class Bare(Block):
    def build(self, shape, old):
        self.scale = nn.Parameter(torch.randn(1, shape[1], 1, 1))
        self.place = nn.Parameter(torch.randn(shape[1:]))

    def forward(self, x, old):
        return x * self.scale + self.place


class Position(Block):
    """What is picked by its place: one channel must stay."""

    def forward(self, x, old):
        return x + x[:, :1] if self.a % 2 else x * x[:, -1:].sigmoid()


class Moved(Block):
    def forward(self, x, old):
        kind = self.a % 5
        if kind == 0:
            return x.flip(1)
        if kind == 1:
            return torch.roll(x, (1, 1), (2, 3))
        if kind == 2:
            return torch.roll(x, 1, 1)
        return x.repeat_interleave(2, 1) if kind == 3 and x.shape[1] < 9 else x.transpose(2, 3)


class Statistic(Block):
    def forward(self, x, old):
        kind = self.a % 4
        if kind == 0:
            return x - x.mean(1, keepdim=True)
        if kind == 1:
            return x.softmax(1)
        return F.normalize(x, dim=1) if kind == 2 else x * x.amax(1, keepdim=True)


class Attention(Block):
    """Over positions, q, k and v in one projection or in three; scale from the width of a head."""

    def build(self, shape, old):
        c = shape[1]
        self.heads, self.width = 2, 2 + self.a % 2
        inner = self.heads * self.width
        self.norm = nn.LayerNorm(c)
        self.qkv, self.out = nn.Linear(c, 3 * inner), nn.Linear(inner, c)
        self.scale = self.width**-0.5

    def forward(self, x, old):
        b, c, h, w = x.shape
        y = self.norm(x.flatten(2).transpose(1, 2))
        if self.b % 2:
            q, k, v = self.qkv(y).reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            z = F.scaled_dot_product_attention(q, k, v)
        else:
            q, k, v = (t.reshape(b, h * w, self.heads, -1).transpose(1, 2) for t in self.qkv(y).chunk(3, -1))
            z = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.out(z.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(b, c, h, w)


class Einsum(Block):
    def build(self, shape, old):
        self.mix = nn.Parameter(torch.randn(shape[1], 5) / shape[1] ** 0.5)

    def forward(self, x, old):
        return torch.einsum("bchw,cd->bdhw", x, self.mix)


class MixPositions(Block):
    def build(self, shape, old):
        self.mix = nn.Linear(shape[3], shape[3])

    def forward(self, x, old):
        return x + self.mix(x)


BLOCKS = {b.__name__: b for b in Block.__subclasses__()}
