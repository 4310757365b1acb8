"""Rows of the table of operations: what one does to channels is proven on a network that is made of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import isoprune
from isoprune.graph import trace
from isoprune.graph.operations import OPERATIONS

WIDTH = 16
REVERSED = torch.arange(WIDTH).flip(0)
GRID = torch.rand(2, 8, 8, 2, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
BOXES = torch.tensor(
    [[0.0, 0.0, 0.0, 6.0, 6.0], [1.0, 1.0, 1.0, 7.0, 7.0], [1.0, 0.0, 0.0, 4.0, 4.0]]
).double()


class Between(nn.Module):
    """A function of an activation between two convolutions."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, 4)
        self.function = function() if isinstance(function, type) else function

    def forward(self, x):
        h = F.relu(self.first(x))
        return self.head(F.relu(self.last(self.function(h))).mean((2, 3)))


class Deformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.deformed = torchvision.ops.DeformConv2d(WIDTH, WIDTH, 3, padding=1)
        self.offsets = nn.Conv2d(WIDTH, 18, 3, padding=1)

    def forward(self, h):
        return self.deformed(h, self.offsets(h))


def scattered(h):
    index = torch.arange(8).flip(0)[None, None, :, None].expand_as(h)
    return torch.zeros_like(h).scatter_add_(2, index, h)


CUT = {
    "grid_sample": lambda h: F.grid_sample(h, GRID, align_corners=False),
    "roi_align": lambda h: torchvision.ops.roi_align(h, BOXES, 4),
    "deform_conv2d": Deformed,
    "channel_shuffle": lambda h: F.channel_shuffle(h, 4),
    "max with indices": lambda h: h * torch.max(h, 1, keepdim=True)[0].sigmoid(),
    "min over positions": lambda h: h - h.min(3, keepdim=True)[0],
    "index_add": lambda h: torch.zeros_like(h).index_add_(2, torch.arange(8).flip(0), h),
    "scatter_add": scattered,
}
KEPT = {
    "positions among channels": lambda h: h * torch.max(h, 1, keepdim=True)[1],
    "a sum into named channels": lambda h: torch.zeros_like(h).index_add_(1, torch.arange(WIDTH).flip(0), h),
}


def made(function):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return Between(function).double().eval(), torch.randn(2, 3, 8, 8).double()


@pytest.mark.parametrize("name", CUT)
def test_channels_go_through_it_and_the_smaller_network_is_proven(name):
    model, x = made(CUT[name])
    small = isoprune.prune(model, x, 0.5)
    assert small.model.first.weight.shape[0] == WIDTH // 2
    assert small.proof.relative_error < 1e-12


@pytest.mark.parametrize("name", KEPT)
def test_channels_that_are_named_by_position_stay(name):
    model, x = made(KEPT[name])
    small = isoprune.prune(model, x, 0.5)
    assert small.model.first.weight.shape[0] == WIDTH
    assert any(f.tensor == "first.weight" and "position" in f.reason for f in small.graph.frozen)


def test_positions_that_are_given_out_stay():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, WIDTH)

        def forward(self, x):
            return self.first(x).max(1)[1]

    assert not trace(Positions(), torch.randn(2, 5)).groups


def test_every_contraction_counts_its_products_and_every_statistic_says_what_it_runs_over():
    for name, operation in OPERATIONS.items():
        assert (operation.multiply_adds is not None) == bool(operation.factors), name
        assert (operation.over is not None) == (operation.family in ("norm", "reduction")), name
        assert not operation.runs_as or operation.runs_as in OPERATIONS, name
