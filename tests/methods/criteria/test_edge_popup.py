"""edge-popup: one step by hand, what the mask lets through, samples counted, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.methods.criteria.edge_popup import gated
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.task import Task


def data(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 7, dtype=torch.float64, generator=generator)
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def trained(signals, units, **options):
    return scores_of("edge_popup", signals, units, generator=torch.Generator().manual_seed(0), **options)


def test_one_step_is_the_straight_through_gradient():
    model, _ = network("mlp")
    x, y = data(8)
    (units,) = (u for u in units_of(trace(model, x), "weight") if u.name == "2.weight")
    signals = Signals(model, [(x, y)])
    before = trained(signals, [units], train_samples=0)["2.weight"]
    W = model[2].weight.detach()
    edge = before.flatten().kthvalue(W.numel() // 2).values
    masked = (W * (before > edge)).requires_grad_()
    loss = F.cross_entropy(model[4](F.relu(F.linear(model[:2](x), masked, model[2].bias))), y)
    (g,) = torch.autograd.grad(loss, masked)
    after = trained(signals, [units], train_samples=8, batch=8, momentum=0.0, weight_decay=0.0, lr=0.01)
    assert float((0.01 * g * W).abs().max()) < float(before[before > 0].max())
    torch.testing.assert_close(after["2.weight"], (before - 0.01 * g * W).abs())


@pytest.mark.parametrize("grain", ["weight", "filter", "kernel", "channel"])
def test_the_gate_lets_through_all_but_the_ratio_of_each(grain):
    model, x = network("mlp")
    units = units_of(trace(model, x), grain)
    signals = Signals(model, [(x, torch.zeros(2, dtype=torch.long))])
    scores = trained(signals, units, train_samples=0)
    weights = gated(signals, units, scores, 0.75)
    for u in units:
        name = {"0": "2.weight", "2": "4.weight"}.get(u.name, u.name)  # where channels are read
        there = weights[name] != 0
        works = {"channel": there.any(0), "filter": there.any(1)}.get(grain, there)
        assert int(works.sum()) == u.size - math.ceil(0.75 * u.size)
        assert torch.equal(weights[name][there], model.get_parameter(name).detach()[there])


@pytest.mark.parametrize("sizes", [[10], [3, 7], [4, 4, 2]])
def test_so_many_samples_are_seen_and_batches_of_the_data_do_not_matter(sizes):
    model, _ = network("mlp")
    x, y = data(10)
    units, seen = units_of(trace(model, x), "weight"), []

    def loss(outputs, batch):
        seen.append(len(batch[1]))
        return F.cross_entropy(outputs, batch[1])

    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    got = trained(Signals(model, parts, Task(loss=loss)), units, train_samples=37, batch=8)
    assert seen == [1, 1, 8, 8, 8, 8, 5]  # twice one sample: its work, and its memory
    want = trained(Signals(model, [(x, y)]), units, train_samples=37, batch=8)
    assert all(torch.equal(got[name], want[name]) for name in got)


def test_the_network_of_the_winning_half_learns_though_no_weight_moves():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)]
    model, (x, y) = nn.Sequential(*layers).double(), data(256)
    with torch.no_grad():
        for p in model.parameters():
            p *= 3  # half of the weights make as much as all of them did, and of ReLUs
    units, signals = units_of(trace(model, x), "weight"), Signals(model, [(x, y)])
    before, after = (trained(signals, units, train_samples=n, batch=64, lr=1.0) for n in (0, 12_800))
    losses = [float(signals.loss((x, y), gated(signals, units, scores, 0.5))) for scores in (before, after)]
    assert losses[1] < 0.7 * losses[0]


def test_bad_numbers_are_refused():
    model, x = network("mlp")
    units, signals = units_of(trace(model, x), "weight"), Signals(model, [data(4)])
    with pytest.raises(IsopruneError, match=r"ratio is 1\.0, not a number in \[0, 1\)"):
        trained(signals, units, ratio=1.0)
    with pytest.raises(IsopruneError, match="train_samples is -1, batch 128: give at least 0"):
        trained(signals, units, train_samples=-1)
