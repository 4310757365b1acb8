"""Intra-Fusion: filters are the plan's means, readers take over by its shares."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from repair_networks import inputs, mlp, seeded
from torch import nn

import isoprune
from isoprune.linalg.transport import transport_plan
from isoprune.methods.repairs.intra_fusion import _plan


@torch.no_grad()
def test_filters_are_means_and_readers_read_by_shares():
    model, x = seeded(partial(mlp, 6, 8, 3)), inputs(4, 6)
    small = isoprune.prune(model, x, 0.5)
    new, kept = isoprune.repair(small, "intra_fusion").model, small.plan.kept["0"]
    rows = torch.cat([model[0].weight, model[0].bias[:, None]], 1)
    costs = (rows[:, None] - rows[kept]).abs().sum(2)
    P = transport_plan(costs, torch.ones(8), rows[kept].abs().sum(1))
    torch.testing.assert_close(new[0].weight, P.mT @ model[0].weight / P.sum(0)[:, None])
    torch.testing.assert_close(new[0].bias, P.mT @ model[0].bias / P.sum(0))
    torch.testing.assert_close(new[2].weight, model[2].weight @ (P / P.sum(1, keepdim=True)))
    assert torch.equal(new[2].bias, model[2].bias)


@torch.no_grad()
def test_copies_of_equal_importance_are_fused_into_one_and_the_function_comes_back():
    model, x = seeded(partial(mlp, 6, 8, 3)), inputs(4, 6)
    rows = torch.cat([model[0].weight, model[0].bias[:, None]], 1)
    rows = torch.nn.functional.normalize(rows, p=1, dim=1)[:4].repeat(2, 1)
    model[0].weight.copy_(rows[:, :6])
    model[0].bias.copy_(rows[:, 6])

    def first(_signals, units, *, generator):
        return {u.name: -torch.arange(u.size).double() for u in units}

    small = isoprune.prune(model, x, 0.5, criterion=first)
    assert (small.model(x) - model(x)).abs().max() > 0.01
    torch.testing.assert_close(isoprune.repair(small, "intra_fusion").model(x), model(x))


def test_a_kept_filter_of_no_importance_stays_what_it_is():
    rows, kept = inputs(6, 4), torch.tensor([True, True, False, False, True, False])
    rows[1] = 0
    P = _plan(rows, kept, 1.0)
    assert P[1].tolist() == [0, 1, 0]
    assert P[:, 1].sum() == 1
    assert (P.sum(1) > 0).all()


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_nothing_changes_at_ratio_zero(ratio):
    small = isoprune.prune(seeded(partial(mlp, 6, 8, 3)), inputs(4, 6), ratio)
    new = isoprune.repair(small, "intra_fusion").model
    same = [torch.equal(a, b) for a, b in zip(new.parameters(), small.model.parameters(), strict=True)]
    assert all(same) == (ratio == 0)


def test_grouped_readers_stay_as_pruned_and_the_log_names_what_they_read(caplog):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1, groups=2), nn.Flatten())
    net, x = net.double().eval(), inputs(2, 1, 2, 2)
    small = isoprune.prune(net, x, 0.5)
    caplog.set_level(logging.INFO)
    new = isoprune.repair(small, "intra_fusion").model
    assert torch.equal(new[2].weight, small.model[2].weight)
    assert "0: stays as pruned, since what reads it cannot be mixed freely" in caplog.text
