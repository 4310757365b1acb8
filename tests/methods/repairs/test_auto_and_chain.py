"""Repairs made of repairs: the order of a chain, and what `auto` takes."""

from __future__ import annotations

import functools

import pytest
import torch
from repair_networks import data, run
from torch import Generator, nn

import isoprune
from isoprune.methods.repairs import auto, chain, orthp, polar, reconstruct
from isoprune.types import IsopruneError


def dense_network(x):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(54, 12),
            nn.ReLU(),
            nn.Linear(12, 4),
        ).double()
    net[1].momentum = None
    net(x)
    return net.eval()


def inputs(n=160):
    return torch.randn(n, 1, 5, 5, dtype=torch.float64, generator=Generator().manual_seed(1))


def given(result, dense, x):
    return {"dense": dense, "plan": result.plan, "batches": data(x)}


def test_a_chain_does_one_step_after_the_other():
    x = inputs()
    dense = dense_network(x)
    result = isoprune.prune(dense, x[:2], 0.5)
    known = given(result, dense, x)
    double, triple = functools.partial(polar, gain=2.0), functools.partial(orthp, gain=3.0)
    by_hand = run(triple, run(double, result.model, **known), **known)
    both = run(chain, result.model, **known, steps=[double, triple])
    other = run(chain, result.model, **known, steps=[triple, double])
    for a, b, c in zip(both.parameters(), by_hand.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
        if a.ndim > 1:
            assert not torch.allclose(a, c)


def off(a, b, x):
    with torch.no_grad():
        return float((a(x) - b(x)).norm())


def test_auto_reconstructs_what_was_lost():
    x, unseen = inputs(600), inputs(700)[600:]
    dense = dense_network(x)
    result = isoprune.prune(dense, x[:2], 0.5)
    new = run(auto, result.model, **given(result, dense, x))
    assert off(new, dense, unseen) < 0.7 * off(result.model, dense, unseen)


def test_auto_leaves_what_is_whole():
    x = inputs()
    dense = dense_network(x)
    whole = run(auto, dense, batches=data(x))
    for a, b in zip(whole.state_dict().values(), dense.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_auto_is_never_further_off_than_its_parts_on_what_it_judges_by():
    """Nine samples to fit hundreds of weights: whatever overfits must not be taken."""
    x = inputs(16)
    dense = dense_network(inputs())
    result = isoprune.prune(dense, x[:2], 0.3)
    judged = torch.arange(16) % 8 == 0
    new = run(auto, result.model, **given(result, dense, x))
    fitted = given(result, dense, x[~judged])
    parts = [result.model, run(reconstruct, result.model, **fitted)]
    assert off(new, dense, x[judged]) <= min(off(part, dense, x[judged]) for part in parts) + 1e-12


def test_a_loader_that_shuffles_is_gone_through_once_so_that_what_was_fitted_never_judges():
    x, orders = inputs(96), []

    class Shuffling(list):
        def __iter__(self):
            orders.append(torch.randperm(len(self), generator=Generator().manual_seed(len(orders))).tolist())
            return iter([self[i] for i in orders[-1]])

    parts = [(part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(12)]
    result = isoprune.prune(dense_network(x), x[:2], 0.5)
    shuffled = isoprune.repair(result, "auto", batches=Shuffling(parts), retrain_budget=0)
    ordered = isoprune.repair(result, "auto", batches=[parts[i] for i in orders[0]], retrain_budget=0)
    assert shuffled.history[-1]["samples"]["trained"] > 0
    assert all(map(torch.equal, shuffled.model.parameters(), ordered.model.parameters()))


def test_auto_needs_a_sample_to_judge_by():
    x = inputs(1)
    dense = dense_network(inputs())
    result = isoprune.prune(dense, inputs(2), 0.3)
    with pytest.raises(IsopruneError, match="judges on every eighth sample, and batches hold 1"):
        run(auto, result.model, **given(result, dense, x))
