"""Filters that a forward computes for each sample, and runs as groups with the samples side by side."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, conv2d, conv_transpose2d

from isoprune.verbs import prune
from pruning.oracle import assert_right

G = torch.Generator().manual_seed(0)


class Modulated(nn.Module):
    """A style scales what each sample's filters read."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.style = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(3, 12)
        self.filters = nn.Parameter(torch.randn(10, 12, 3, 3) / 10)
        self.last = nn.Conv2d(10, 2, 1)

    def scaled(self, x):
        return self.filters[None] * (1 + self.style(x.mean((2, 3))))[:, None, :, None, None]

    def run(self, h, filters):
        return conv2d(h, filters.reshape(-1, *filters.shape[2:]), padding=1, groups=len(filters))

    def forward(self, x):
        h = self.first(x).relu()
        out = self.run(h.reshape(1, -1, *h.shape[2:]), self.scaled(x))
        return self.last(out.reshape(len(x), -1, *out.shape[2:]).relu())


class Demodulated(Modulated):
    """Every filter is brought back to length one (StyleGAN2, Karras et al. 2020)."""

    def scaled(self, x):
        filters = super().scaled(x)
        return filters * torch.rsqrt(filters.square().sum((2, 3, 4), keepdim=True) + 1e-8)


class Upsampled(Modulated):
    def run(self, h, filters):
        filters = filters.transpose(1, 2)
        return conv_transpose2d(h, filters.reshape(-1, *filters.shape[2:]), stride=2, groups=len(filters))


class Depth(Modulated):
    """A filter a channel: groups of samples and of channels are one count."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(12, 1, 3, 3) / 10)
        self.last = nn.Conv2d(12, 2, 1)

    def scaled(self, x):
        return self.filters[None] * (1 + self.style(x.mean((2, 3))))[:, :, None, None, None]

    def run(self, h, filters):
        return conv2d(h, filters.reshape(-1, *filters.shape[2:]), padding=1, groups=h.shape[1])


class Mixed(nn.Module):
    """Each sample mixes the filters of four experts (dynamic convolution, Chen et al. 2020).

    The product lays what they make, what they read and positions side by side; what they read is followed.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gate = nn.Conv1d(3, 12, 3, padding=1), nn.Linear(3, 4)
        self.filters = nn.Parameter(torch.randn(4, 10, 12, 3) / 10)
        self.last = nn.Conv1d(10, 2, 1)

    def forward(self, x):
        h = self.first(x).relu()
        filters = torch.einsum("be,eoik->boik", self.gate(x.mean(2)).sigmoid(), self.filters)
        rows = filters.reshape(-1, *filters.shape[2:])
        out = conv1d(h.reshape(1, -1, h.shape[2]), rows, padding=1, groups=len(x))
        return self.last(out.reshape(len(x), -1, out.shape[2]).relu())


@pytest.mark.parametrize("network", [Modulated, Demodulated, Upsampled, Depth, Mixed])
def test_channels_go_from_the_filters_of_every_sample(network):
    model = network().eval()
    shape = (3, 8, 8)[: 2 if network is Mixed else 3]
    x = torch.randn(2, *shape, generator=G)
    pruned = prune(model, x, 0.5)
    small = pruned.model
    assert small.first.out_channels == 6
    assert small.last.in_channels == {Depth: 6, Mixed: 10}.get(network, 5)
    assert not pruned.proof.statistics
    assert_right(model, pruned, (x,), (torch.randn(5, *shape, generator=G),))
