"""Karnin's sensitivity: the paper's sum, an exact case, any optimizer, histories that do not fit."""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import CRITERIA, scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.training import History
from isoprune.types import IsopruneError

karnin = CRITERIA["karnin"]


def scored(model, history, grain="weight"):
    x = torch.zeros(1, model[0].in_features, dtype=torch.float64)
    units = units_of(trace(model, x), grain)
    criterion = functools.partial(karnin, history=history)
    return scores_of(criterion, Signals(model), units, generator=torch.Generator())


def trained(model, make, steps):
    """Train with an optimizer; return the history, the weights of all steps, and their gradients."""
    x = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, history = torch.arange(20) % 5, History(model)
    optimizer, way, slopes = history.watch(make(model.parameters())), [model[0].weight.detach().clone()], []
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        slopes.append(model[0].weight.grad.clone())
        optimizer.step()
        way.append(model[0].weight.detach().clone())
    return history, way, slopes


def test_of_plain_descent_it_is_the_paper_s_sum_of_squared_moves():
    model, _ = network("mlp")
    lr = 0.05
    history, way, _ = trained(model, lambda p: torch.optim.SGD(p, lr=lr), 10)
    moves = sum((b - a).square() for a, b in pairwise(way))
    want = moves * way[-1] / (lr * (way[-1] - way[0]))
    torch.testing.assert_close(scored(model, history)["0.weight"], want)


def test_of_any_optimizer_it_is_gradient_times_move():
    model, _ = network("mlp")
    history, way, slopes = trained(model, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1), 6)
    moves = [b - a for a, b in pairwise(way)]
    gained = -sum(g * d for g, d in zip(slopes, moves, strict=True))
    torch.testing.assert_close(scored(model, history)["0.weight"], gained * way[-1] / (way[-1] - way[0]))


def test_from_a_start_at_zero_it_is_the_rise_of_a_separable_loss_without_the_weight():
    model = nn.Sequential(nn.Linear(6, 3, bias=False)).double()
    goal = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bend = torch.linspace(0.2, 2, 18, dtype=torch.float64).reshape(3, 6)
    with torch.no_grad():
        model[0].weight.zero_()
    history = History(model)
    optimizer = history.watch(torch.optim.SGD(model.parameters(), lr=1e-3))
    for _ in range(500):
        optimizer.zero_grad()
        (bend * (model[0].weight - goal).square() / 2).sum().backward()
        optimizer.step()
    left = bend * (model[0].weight.detach() - goal).square() / 2
    rise = bend * goal.square() / 2 - left
    torch.testing.assert_close(scored(model, history)["0.weight"], rise, rtol=2e-3, atol=0)
    by_filter = scored(model, history, "filter")["0.weight"]
    torch.testing.assert_close(by_filter, scored(model, history)["0.weight"].sum(1))


def test_a_weight_that_did_not_move_scores_zero():
    model, _ = network("mlp")
    history, *_ = trained(model, lambda p: torch.optim.SGD(p, lr=0.05), 2)
    with torch.no_grad():
        model[0].weight[0, 0] = history.start["0.weight"][0, 0]
    assert scored(model, history)["0.weight"][0, 0] == 0


def test_no_history_and_one_of_another_network_are_refused():
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match="reads a training's history, and there is none"):
        isoprune.prune(model, x, 0.5, criterion="karnin")
    other = History(nn.Sequential(nn.Linear(7, 9)))
    with pytest.raises(IsopruneError, match=r"does not know 0\.weight of shape \(10, 7\)"):
        scored(model, other)
    with pytest.raises(IsopruneError, match="steps 1 tensors, and they are not the 6"):
        History(model).watch(torch.optim.SGD([model[0].weight], lr=0.1))
