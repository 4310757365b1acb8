"""SynFlow's score: the closed form of a chain, biases and data that do not count."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import isoprune
from methods.measures.cases import chain, data, draw, drawn, number


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e160])
def test_a_chain_has_its_layers_times_the_flow(scale):
    weights = [scale * draw(6, 5, seed=1), draw(4, 6, seed=2), draw(3, 4, seed=3)]
    (A, B, C) = (w.abs() for w in (weights[0] / scale, *weights[1:]))
    flow = float((C @ B @ A).sum())
    want = math.log10(3 * flow) + math.log10(scale)
    assert number(chain(*weights), "synflow_score", data()) == pytest.approx(want)


def test_signs_biases_and_data_do_not_count():
    net = drawn(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.neg_() if p.ndim > 1 else p.add_(3)
    a, b = number(net, "synflow_score", data()), number(other, "synflow_score", (draw(2, 5, seed=4),) * 2)
    assert a == pytest.approx(b)


def test_a_network_through_which_nothing_flows_has_no_logarithm():
    assert number(chain(draw(6, 5), torch.zeros(3, 6)), "synflow_score", data()) is None


def test_a_pruned_network_needs_no_data():
    small = isoprune.prune(drawn(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), data()[0], 0.5)
    got = isoprune.measures(small, names=["synflow_score"]).numbers
    assert got["log_synflow"] == pytest.approx(number(small, "synflow_score", data()))
