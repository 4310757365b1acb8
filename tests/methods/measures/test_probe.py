"""The short training: it learns, repeats itself, and tells what it cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoprune.types import Task
from methods.measures.cases import data, draw, drawn, found, mlp, refusal


def clouds(samples=120):
    y = torch.arange(samples) % 3
    return 3 * torch.eye(5).double()[y] + 0.3 * draw(samples, 5), y


def net():
    return drawn(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_it_reaches_what_can_be_learned():
    got = found(net(), "probe", clouds(), samples=1500, lr=0.1)
    assert got["probe_accuracy"] == 1
    assert got["probe_loss"] < 0.1
    short = found(net(), "probe", clouds(), samples=50, lr=0.1)
    assert short["probe_loss"] > got["probe_loss"]


def test_one_seed_has_one_result_and_another_one_another():
    x, y = clouds()
    parts = [(x[:50], y[:50]), (x[50:], y[50:])]
    one, two, other = (found(net(), "probe", *parts, samples=100, seed=seed) for seed in (4, 4, 5))
    assert one == two
    assert one["probe_loss"] != other["probe_loss"]


def test_without_a_rate_it_judges_the_network_as_it_is():
    plain = mlp()  # in eval mode its BatchNorm's statistics are its own; training moves them
    plain[2].momentum = 0.0
    x, y = clouds()
    got = found(plain, "probe", (x, y), samples=10, lr=0.0)
    halves = torch.randperm(120, generator=torch.Generator().manual_seed(0)).chunk(2)
    right = (plain(x[halves[1]]).argmax(1) == y[halves[1]]).double().mean()
    assert got["probe_accuracy"] == pytest.approx(float(right))


def test_what_it_cannot_do_is_refused():
    x, y = data()
    assert "1 images and samples = 1000" in refusal(mlp(), "probe", (x[:1], y[:1]))
    assert "samples = 0" in refusal(mlp(), "probe", (x, y), samples=0)
    task = Task(loss=nn.MSELoss(), metrics={})
    assert "judges by accuracy" in refusal(mlp(), "probe", (x, draw(12, 3)), task=task)
    assert "The loss" in refusal(mlp(), "probe", (1e30 * x, y), lr=1e30)
