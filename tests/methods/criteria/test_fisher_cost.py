"""The cost term of Fisher pruning: what goes is what is worth less than beta per multiply-add."""

from __future__ import annotations

import torch

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.plan import cost_of_one
from isoprune.signals import Signals


def test_a_beta_parts_the_channels_that_go_from_those_that_stay():
    model, x = network("mlp")
    data, graph = [(x, torch.arange(len(x)) % 5)], trace(model, x)
    scores = scores_of("fisher", Signals(model, data), graph.groups, generator=torch.Generator())
    cost = cost_of_one(graph, model, "flops")
    how = {"criterion": "fisher", "allocation": "error", "batches": data, "cap": 0.99}
    kept = isoprune.prune(model, x, flops=0.6, **how).plan.kept
    worth = {name: s / cost[name] for name, s in scores.items()}
    gone = torch.cat([worth[name][~k] for name, k in kept.items()])
    stays = torch.cat([worth[name][kept[name]] if name in kept else worth[name] for name in worth])
    assert 0 < len(gone) < len(gone) + len(stays[stays > 0])
    assert gone.max() <= stays.min()  # dead ones are worth nothing here and there
