"""The blocks of random networks: everything that moves, joins, ties or splits channels.

A block takes the stream, an earlier state of it and two small integers; one that does not fit the shapes
it meets raises `Misfit` when it is built.
"""
# ruff: noqa: ARG002  every block takes the same

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = (F.relu, F.gelu, F.hardswish, torch.tanh, F.silu, F.leaky_relu)


class Misfit(Exception):
    """The block does not fit here."""


class Block(nn.Module):
    """What follows: takes the stream and an earlier state of it, gives the stream."""

    def __init__(self, shape, old, a, b):
        super().__init__()
        self.a, self.b = a, b
        self.build(shape, old)

    def build(self, shape, old): ...


def fits(condition):
    if not condition:
        raise Misfit


class Conv(Block):
    def build(self, shape, old):
        self.conv = nn.Conv2d(
            shape[1], 4 + 2 * self.a, 1 + 2 * (self.b % 2), padding=self.b % 2, bias=self.b < 2
        )

    def forward(self, x, old):
        return self.conv(x)


class GroupedConv(Block):
    def build(self, shape, old):
        fits(shape[1] % 2 == 0)
        groups = 4 if shape[1] % 4 == 0 and self.b % 2 else 2
        self.conv = nn.Conv2d(shape[1], groups * (1 + self.a % 3), 1, groups=groups)

    def forward(self, x, old):
        return self.conv(x)


class Depthwise(Block):
    def build(self, shape, old):
        self.conv = nn.Conv2d(shape[1], shape[1] * (1 + self.a % 2), 3, padding=1, groups=shape[1])

    def forward(self, x, old):
        return self.conv(x)


class Transposed(Block):
    def build(self, shape, old):
        self.conv = nn.ConvTranspose2d(shape[1], 4 + self.a, 2, padding=0)

    def forward(self, x, old):
        return self.conv(x)[..., :-1, :-1]


class Norm(Block):
    def build(self, shape, old):
        c = shape[1]
        groups = 2 if c % 2 == 0 else 1
        kinds = (
            nn.BatchNorm2d(c),
            nn.GroupNorm(groups, c),
            nn.LayerNorm(c),
            nn.RMSNorm(c),
            nn.InstanceNorm2d(c, affine=True),
        )
        self.norm = kinds[(self.a + self.b) % 5]
        self.last = (self.a + self.b) % 5 in (2, 3)

    def forward(self, x, old):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.last else self.norm(x)


class Activation(Block):
    def forward(self, x, old):
        return ACTIVATIONS[(self.a + self.b) % 6](x)


class PReLU(Block):
    def build(self, shape, old):
        self.act = nn.PReLU(shape[1] if self.a % 2 else 1)

    def forward(self, x, old):
        return self.act(x)


class Residual(Block):
    def build(self, shape, old):
        self.conv = nn.Conv2d(shape[1], shape[1], 1)
        self.norm = nn.BatchNorm2d(shape[1])

    def forward(self, x, old):
        return x + self.norm(F.relu(self.conv(x)))


class AddOld(Block):
    def build(self, shape, old):
        fits(old[2:] == shape[2:])
        self.conv = nn.Conv2d(old[1], shape[1], 1) if old[1] != shape[1] or self.a % 2 else nn.Identity()

    def forward(self, x, old):
        return x + self.conv(old)


class TimesOld(Block):
    def build(self, shape, old):
        fits(old == shape)

    def forward(self, x, old):
        return x * old if self.a % 2 else torch.maximum(x, old)


class ConcatOld(Block):
    def build(self, shape, old):
        fits(old[2:] == shape[2:] and old[1] + shape[1] < 30)

    def forward(self, x, old):
        return torch.cat([x, old] if self.a % 2 else [old, x], 1)


class StackOld(Block):
    def build(self, shape, old):
        fits(old == shape)

    def forward(self, x, old):
        both = torch.stack([x, old], 1 + self.a % 3)
        return both.sum(1 + self.a % 3) if self.b % 2 else both.unbind(1 + self.a % 3)[0] * 2 + x


class Gate(Block):
    """Half of the channels gate the other."""

    def build(self, shape, old):
        fits(shape[1] % 2 == 0)

    def forward(self, x, old):
        if self.a % 3 == 0:
            return F.glu(x, 1)
        one, two = x.chunk(2, 1)
        return one * two.sigmoid() if self.a % 3 == 1 else torch.cat([two, one], 1)


class SplitAlong(Block):
    """Split by sizes that the module holds, treat one part, join."""

    def build(self, shape, old):
        fits(shape[1] >= 4)
        first = 1 + self.a % (shape[1] - 2)
        self.sizes = (first, shape[1] - first)
        self.conv = nn.Conv2d(first, 3 + self.b, 1)

    def forward(self, x, old):
        one, two = x.split(self.sizes, 1)
        return torch.cat([two, self.conv(one)], 1)


class Slice(Block):
    def build(self, shape, old):
        fits(shape[1] >= 4)
        self.width = shape[1] // 2

    def forward(self, x, old):
        if self.a % 2:
            return torch.cat([x[:, : self.width], -x[:, self.width :]], 1)
        c = x.shape[1] // 2
        return x[:, :c] + (0 if self.b % 2 else x[:, -c:])


class Shuffle(Block):
    def build(self, shape, old):
        fits(shape[1] % 2 == 0)
        self.groups = 2

    def forward(self, x, old):
        b, c, h, w = x.shape
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(b, c, h, w)


class HeadsOver(Block):
    """Channels as heads x width, reduced over one of them or weighted by a softmax over the heads."""

    def build(self, shape, old):
        fits(shape[1] % 2 == 0)
        self.heads, self.width = 2, shape[1] // 2
        self.scale = nn.Parameter(torch.randn(2, 1, 1, 1))

    def forward(self, x, old):
        b, c, h, w = x.shape
        y = x.view(b, self.heads, c // self.heads, h, w)
        if self.a % 3 == 0:
            return y.sum(1)
        y = y * (self.scale if self.a % 3 == 1 else y.softmax(1))
        return y.reshape(b, c, h, w)
