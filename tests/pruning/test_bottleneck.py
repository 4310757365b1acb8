"""Layers taken apart into three compute what they did."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from isoprune.pruning.bottleneck import Bases, can_be_taken_apart, taken_apart
from isoprune.types import IsopruneError

LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 3, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=2, stride=2), (2, 4, 9)),
    "conv2d": (nn.Conv2d(3, 5, (3, 1), padding=(1, 0), dilation=(2, 1), bias=False), (2, 3, 8, 7)),
    "reflected": (nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), (2, 3, 8, 7)),
    "conv3d": (nn.Conv3d(2, 3, 2, padding="same"), (1, 2, 4, 4, 4)),
}


def orthogonal(n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0]


def bases_of(layer):
    m, n = layer.weight.shape[:2]
    return Bases(orthogonal(n, 0), orthogonal(m, 1))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_three_layers_at_full_width_are_the_one(name):
    layer, shape = LAYERS[name]
    net = nn.Sequential(copy.deepcopy(layer).double(), nn.Tanh()).eval()
    x = torch.randn(shape, dtype=torch.float64)
    before = copy.deepcopy(net.state_dict())
    apart = taken_apart(net, {"0": bases_of(net[0])})
    torch.testing.assert_close(apart(x), net(x))
    assert len(apart[0]) == 3
    assert not apart[0][1].training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_layer_that_stands_in_two_places_is_taken_apart_in_both():
    shared = nn.Linear(4, 4).double()
    net = nn.Sequential(shared, nn.ReLU(), shared)
    apart = taken_apart(net, {"0": bases_of(shared)})
    x = torch.randn(3, 4, dtype=torch.float64)
    assert apart[0] is apart[2]
    torch.testing.assert_close(apart(x), net(x))


def test_what_cannot_be_taken_apart_is_not_offered_and_is_refused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tied, self.table = nn.Linear(4, 6), nn.Embedding(6, 4)
            self.table.weight = self.tied.weight
            self.grouped, self.attention = nn.Conv2d(4, 4, 1, groups=2), nn.MultiheadAttention(4, 2)
            self.made = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
            self.plain = nn.Linear(4, 4)

    assert list(can_be_taken_apart(Net())) == ["plain"]
    with pytest.raises(IsopruneError, match="grouped cannot be taken apart"):
        taken_apart(Net(), {"grouped": Bases(torch.eye(2), torch.eye(4))})
