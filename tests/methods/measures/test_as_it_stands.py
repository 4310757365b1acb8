"""Accuracy, loss, size: against the definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import isoprune
from isoprune.types import Task
from methods.measures.cases import data, draw, found, mlp, number, refusal


def test_accuracy_and_loss_are_those_of_the_first_samples():
    net, (x, y) = mlp(), data()
    parts = [(x[:5], y[:5]), (x[5:], y[5:])]
    for samples in (3, 7, 100):
        outputs = net(x[:samples])
        right = (outputs.argmax(1) == y[:samples]).double().mean()
        assert number(net, "accuracy", *parts, samples=samples) == pytest.approx(float(right))
        want = cross_entropy(outputs, y[:samples]).item()
        assert number(net, "loss", *parts, samples=samples) == pytest.approx(want)


def test_other_tasks_have_a_loss_and_no_accuracy():
    net, (x, _) = mlp(), data()
    task, targets = Task(loss=nn.MSELoss(), metrics={}), draw(12, 3, seed=3)
    want = (net(x) - targets).square().mean().item()
    assert number(net, "loss", (x, targets), task=task) == pytest.approx(want)
    assert "measures loss, and no accuracy" in refusal(net, "accuracy", (x, targets), task=task)
    of_train_mode = Task(loss=lambda outputs, _: outputs.sum(), metrics={}, loss_in_train_mode=True)
    assert "has a loss in train mode only" in refusal(net, "loss", (x, targets), task=of_train_mode)


@pytest.mark.parametrize("way", [{}, {"mask": True}, {"grain": "weight"}])
def test_size_counts_what_is_left(way):
    net, x = nn.Sequential(nn.Linear(8, 10, bias=False), nn.ReLU(), nn.Linear(10, 4, bias=False)), draw(2, 8)
    got = found(isoprune.prune(net.double().eval(), x, 0.4, **way), "size")
    assert got["parameters_left"] == pytest.approx(0.6, abs=0.01)
    assert got["flops_left"] == pytest.approx(1 if way else 0.6)


def test_of_what_is_not_pruned_all_is_left():
    assert found(mlp(), "size") == {"parameters_left": 1, "flops_left": 1}


def test_a_loss_that_is_not_finite_is_none():
    net, (x, y) = mlp(), data()
    with torch.no_grad():
        net[0].weight[0, 0] = float("nan")
    assert number(net, "loss", (x, y)) is None
