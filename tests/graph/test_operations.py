"""Rows of the table of operations: what one does to channels is proven on a network that is made of it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import isoprune
from graph.small_networks import randomise_
from isoprune.graph import trace
from isoprune.graph.operations import OPERATIONS
from pruning.oracle import difference, zeroed_reads

WIDTH = 16
GRID = torch.rand(2, 8, 8, 2, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
BOXES = torch.tensor(
    [[0.0, 0.0, 0.0, 6.0, 6.0], [1.0, 1.0, 1.0, 7.0, 7.0], [1.0, 0.0, 0.0, 4.0, 4.0]]
).double()
BACK = torch.arange(8).flip(0)
ROWS = BACK[None, None, :, None]


class Between(nn.Module):
    """A function of an activation between two convolutions."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, 4)
        self.function = function() if isinstance(function, type | partial) else function

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


class Located(nn.Module):
    """A spatial transformer: six numbers that mean a row of an affine map each."""

    def __init__(self):
        super().__init__()
        self.place = nn.Linear(WIDTH, 6)

    def forward(self, h):
        grid = F.affine_grid(self.place(h.mean((2, 3))).view(-1, 2, 3), h.shape, align_corners=False)
        return F.grid_sample(h, grid, align_corners=False)


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.form = nn.Bilinear(WIDTH, WIDTH, WIDTH)

    def forward(self, h):
        rows = h.permute(0, 2, 3, 1)
        return self.form(rows, rows.flip(1)).permute(0, 3, 1, 2)


class Prototypes(nn.Module):
    """Distances to learned points."""

    def __init__(self, p=2.0):
        super().__init__()
        self.points, self.p = nn.Parameter(torch.randn(WIDTH, WIDTH)), p

    def forward(self, h):
        far = torch.cdist(h.flatten(2).transpose(1, 2), self.points[None], p=self.p)
        return far.transpose(1, 2).unflatten(2, h.shape[2:])


def scattered(h):
    return torch.zeros_like(h).scatter_add_(2, ROWS.expand_as(h), h)


def scattered_by_channel(h):
    """Each channel has an order of its own: the index has channels too."""
    return torch.zeros_like(h).scatter(2, h.argsort(2), h)


CUT = {
    "grid_sample": lambda h: F.grid_sample(h, GRID, align_corners=False),
    "roi_align": lambda h: torchvision.ops.roi_align(h, BOXES, 4),
    "roi_pool": lambda h: torchvision.ops.roi_pool(h, BOXES, 4),
    "deform_conv2d": Deformed,
    "affine_grid": Located,
    "channel_shuffle": lambda h: F.channel_shuffle(h, 4),
    "bilinear": Bilinear,
    "cat with no rows": lambda h: torch.cat([h[:, :, :0], h], 2),
    "cat with no channels": lambda h: torch.cat([h.new_zeros(len(h), 0, *h.shape[2:]), h], 1),
    "cat with an empty vector": lambda h: torch.cat([torch.zeros(0).double(), h], 1),
    "rot90": lambda h: h.rot90(1, (2, 3)),
    "median over positions": lambda h: h - h.median(3, keepdim=True)[0],
    "topk over positions": lambda h: h * h.flatten(2).topk(3, 2)[0].mean(2)[..., None, None],
    "kthvalue over positions": lambda h: h - h.kthvalue(3, 2, keepdim=True)[0],
    "mode over positions": lambda h: h - h.mode(2, keepdim=True)[0],
    "min over positions": lambda h: h - h.min(3, keepdim=True)[0],
    "aminmax over positions": lambda h: h - torch.aminmax(h, dim=2, keepdim=True)[0],
    "cummax": lambda h: h.cummax(2)[0],
    "logcumsumexp": lambda h: h.logcumsumexp(3),
    "index_select": lambda h: h.index_select(2, BACK[:5]),
    "gather": lambda h: h.gather(2, ROWS.expand_as(h)),
    "index_add": lambda h: torch.zeros_like(h).index_add_(2, BACK, h),
    "index_copy": lambda h: torch.zeros_like(h).index_copy(2, BACK, h),
    "index_fill": lambda h: h.index_fill(2, BACK[:3], 0.0),
    "scatter_add": scattered,
    "scatter": lambda h: torch.zeros_like(h).scatter(2, ROWS.expand_as(h), h),
    "scatter by channel": scattered_by_channel,
    "scatter_reduce": lambda h: torch.zeros_like(h).scatter_reduce(2, ROWS.expand_as(h), h, "amax"),
}
# They read channels all at once, which the oracle of weights does not know.
STATISTICS = {
    "max with indices": lambda h: h * torch.max(h, 1, keepdim=True)[0].sigmoid(),
    "min of everything": lambda h: h - h.max(),
    "median over channels": lambda h: h - h.median(1, keepdim=True)[0],
    "cdist": Prototypes,
    "cdist of another norm": lambda h: h * torch.cdist(h[:, :, 0].mT, h[:, :, 1].mT, p=1.0).mean() ** 2,
}
KEPT = {
    "positions among channels": lambda h: h * torch.max(h, 1, keepdim=True)[1],
    "a sum into named channels": lambda h: torch.zeros_like(h).index_add_(1, torch.arange(WIDTH).flip(0), h),
    "channels in order": lambda h: h.sort(1)[0],
}


def made(function):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        model = Between(function).double().eval()
        randomise_(model)
        return model, torch.randn(2, 3, 8, 8).double()


@pytest.mark.parametrize("name", CUT)
def test_channels_go_through_it_and_the_smaller_network_is_proven(name):
    model, x = made(CUT[name])
    small = isoprune.prune(model, x, 0.5, criterion="random")
    assert small.model.first.weight.shape[0] == WIDTH // 2
    assert small.proof.relative_error < 1e-12
    assert small.attempts == ()
    assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_over_channels_loses_those_that_go(name):
    model, x = made(STATISTICS[name])
    small = isoprune.prune(model, x, 0.5, criterion="random")
    assert small.model.first.weight.shape[0] == WIDTH // 2
    assert small.proof.relative_error < 1e-12


@pytest.mark.parametrize("name", KEPT)
def test_channels_that_are_named_by_position_stay(name):
    model, x = made(KEPT[name])
    small = isoprune.prune(model, x, 0.5)
    assert small.model.first.weight.shape[0] == WIDTH
    assert any(f.tensor == "first.weight" and "position" in f.reason for f in small.graph.frozen)


def test_the_numbers_of_an_affine_map_stay_by_name():
    graph = trace(*made(Located))
    (frozen,) = [f for f in graph.frozen if f.tensor == "function.place.weight"]
    assert frozen.channels == 6
    assert frozen.reason == "affine_grid_generator in function reads each value by its place"


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
