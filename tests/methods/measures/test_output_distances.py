"""Distances to the dense network's outputs: zero for itself, closed forms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from isoprune.types import Task
from methods.measures.cases import data, mlp, number, refusal, with_dense


def scaled(net, factor):
    """Return the network with its outputs multiplied."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other[-1].parameters():
            p.mul_(factor)
    return other


@pytest.mark.parametrize("name", ["output_kl", "output_error"])
def test_the_network_itself_is_at_distance_zero(name):
    assert number(with_dense(mlp(), mlp()), name, data()) == 0


def test_kl_is_that_of_the_definition():
    net, (x, y) = mlp(), data()
    p, q = (each(x).detach().softmax(1) for each in (net, scaled(net, 0.3)))
    want = float((p * (p / q).log()).sum(1).mean())
    got = number(with_dense(scaled(net, 0.3), net), "output_kl", (x[:5], y[:5]), (x[5:], y[5:]))
    assert got == pytest.approx(want)


def test_kl_of_a_uniform_network_is_what_entropy_lacks_of_the_largest():
    net, (x, y) = mlp(), data()
    p = net(x).detach().softmax(1)
    entropy = float(-(p * p.log()).sum(1).mean())
    assert number(with_dense(scaled(net, 0), net), "output_kl", (x, y)) == pytest.approx(
        math.log(3) - entropy
    )


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_outputs_that_are_multiplied_are_off_by_that(factor):
    net = mlp()
    assert number(with_dense(scaled(net, factor), net), "output_error", data()) == pytest.approx(
        abs(factor - 1)
    )


def test_what_cannot_be_compared_is_refused():
    net, (x, y) = mlp(), data()
    task = Task(loss=nn.MSELoss(), metrics={})
    assert "is no cross-entropy" in refusal(with_dense(net, mlp()), "output_kl", (x, y), task=task)
    one = nn.Sequential(net, nn.Flatten(0)).eval()
    assert "the outputs are of shape (36,)" in refusal(with_dense(one, net), "output_kl", (x, y))
    assert "differ in number or shape" in refusal(with_dense(one, net), "output_error", (x, y))
    assert "outputs are all zero" in refusal(with_dense(net, scaled(net, 0)), "output_error", (x, y))
