"""What polishing may take: no more samples than its budget, counted to the sample, and told by its caller."""

from __future__ import annotations

import functools
import importlib
from dataclasses import replace

import pytest
import torch
from polished import call, kl, labelled, small
from repair_networks import data, inputs, mlp, seeded
from torch import nn

import isoprune
from isoprune.methods.repairs import auto, chain, polish, reconstruct
from isoprune.types import IsopruneError


@pytest.mark.parametrize("samples", [0, 15, 16, 250, 1000])
def test_the_budget_of_samples_is_never_exceeded_and_counted_to_the_sample(samples, monkeypatch):
    x, seen = inputs(64, 6), []
    home = importlib.import_module("isoprune.methods.repairs.polish")
    original = home._kl

    def counted(outputs, batch):
        seen.append(len(batch))
        return original(outputs, batch)

    monkeypatch.setattr(home, "_kl", counted)
    result = small(x)
    made = call(result, labelled(x), train_samples=samples, batch=16)
    assert made.trained <= samples
    assert made.trained % 16 == 0
    assert made.trained + made.judged == sum(seen)
    if samples == 0:
        assert all(
            torch.equal(a, b) for a, b in zip(made.model.parameters(), result.model.parameters(), strict=True)
        )


def test_a_polish_that_no_longer_gains_ends_before_its_budget():
    """One layer: the least loss is reached long before."""
    x = inputs(64, 6)
    net = seeded(lambda: mlp(6, 5, 3, activation=nn.Identity))
    result = isoprune.prune(net, x[:2], 0.2)
    long = call(result, data(x), train_samples=10**6, batch=16, lr=0.05)
    assert long.trained <= 40 * 48


@pytest.mark.parametrize("budget", [-5, 0.5, "full", True])
def test_a_budget_that_is_no_number_of_samples_is_refused_before_anything_is_done(budget):
    x = inputs(8, 6).float()
    with pytest.raises(IsopruneError, match=r"retrain_budget is .* Give how many samples"):
        isoprune.prune(mlp(6, 12, 3), x, 0.5, batches=data(x), retrain_budget=budget)
    with pytest.raises(IsopruneError, match="retrain_budget is"):
        isoprune.repair(isoprune.prune(mlp(6, 12, 3), x, 0.5), batches=data(x), retrain_budget=budget)


def test_a_chain_adds_up_what_its_steps_took_and_repair_says_it():
    x = inputs(64, 6)
    result = small(x)
    short = functools.partial(polish, train_samples=96, batch=16)
    twice = call(result, labelled(x), repair=chain, steps=[short, reconstruct, short])
    assert twice.trained == 2 * 96
    done = isoprune.repair(result, ["reconstruct", short], batches=labelled(x))
    assert done.history[-1]["samples"]["trained"] == 96
    assert "samples" not in isoprune.repair(result, "reconstruct", batches=labelled(x)).history[-1]


def test_auto_polishes_where_the_budget_is_short_and_only_there():
    x = inputs(96, 6)
    result = small(x, 0.7)
    takes = {b: call(result, labelled(x), repair=auto, retrain_budget=b) for b in (None, 0, 10_000, 10**7)}
    assert takes[None].trained == takes[10**7].trained == 0
    assert min(takes[0].trained, takes[10_000].trained) > 0
    held = x[::8]
    assert kl(takes[0].model, result.dense, held) < kl(takes[None].model, result.dense, held)


def test_prune_with_a_budget_chooses_for_the_repair_that_it_ends_with():
    x = inputs(96, 6)
    dense, batches = seeded(lambda: mlp(6, 16, 12, 4)), labelled(x)
    whole = isoprune.prune(dense, x[:2], 0.7, batches=batches, retrain_budget=0)
    by_hand = isoprune.prune(dense, x[:2], 0.7, criterion="reconstruction", batches=batches)
    assert whole.plan == replace(by_hand.plan, request=whole.plan.request)
    assert [entry["step"] for entry in whole.history] == ["prune", "repair"]
    assert whole.history[-1]["method"] == "auto"
    assert whole.history[-1]["samples"]["trained"] > 0
    named = isoprune.prune(dense, x[:2], 0.7, criterion="l1_norm", batches=batches, retrain_budget=10**7)
    assert named.plan.kept.keys() == isoprune.prune(dense, x[:2], 0.7).plan.kept.keys()
    assert "samples" not in named.history[-1]
    weights = isoprune.prune(dense, x[:2], 0.5, grain="weight", batches=batches, retrain_budget=0)
    assert weights.proof.max_abs_error == 0
    with pytest.raises(IsopruneError, match="batches"):
        isoprune.prune(dense, x[:2], 0.7, retrain_budget=0)
