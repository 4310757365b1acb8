"""Dead units, counted by construction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from methods.measures.cases import data, draw, drawn, number, refusal


def hidden(dead):
    """Return a network of 10 hidden units and 3 outputs, of which some never let anything through."""
    net = drawn(nn.Linear(5, 10), nn.ReLU(inplace=True), nn.Linear(10, 3))
    with torch.no_grad():
        net[0].bias.fill_(10)
        net[0].bias[:dead] = -100
    return net


@pytest.mark.parametrize("dead", [0, 1, 4])
def test_units_whose_activation_is_shut_are_dead(dead):
    assert number(hidden(dead), "dead_units", data()) == pytest.approx(dead / 13)


def test_units_that_nothing_reads_are_dead():
    net = hidden(1)
    with torch.no_grad():
        net[2].weight[:, 7:] = 0
    assert number(net, "dead_units", data()) == pytest.approx(4 / 13)


def test_a_unit_that_works_on_one_sample_is_alive():
    net, (x, y) = hidden(0), data()
    with torch.no_grad():
        net[0].bias.sub_(10 + (x @ net[0].weight.mT).amax(0) - 1e-3)
    assert number(net, "dead_units", (x[:6], y[:6]), (x[6:], y[6:])) == 0
    assert number(net, "dead_units", (x[:1], y[:1])) > 0


def test_filters_of_convolutions_count_once_whatever_their_places():
    net = drawn(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(6, 5, 2), nn.Flatten(), nn.Linear(5 * 25, 3),
    )  # fmt: skip
    x = draw(4, 2, 7, 7)
    before = number(net, "dead_units", (x, torch.arange(4)))
    assert before == 0
    with torch.no_grad():
        net[1].weight[1] = 0  # BatchNorm lets nothing of a filter through
        net[3].weight[4:] = 0  # two that are constant are alive; two of those they read are read by one alone
        net[5].weight[3] = 0  # nothing reads this one, so those two are dead with it
    assert number(net, "dead_units", (x, torch.arange(4))) == pytest.approx((3 + 1) / (4 + 6 + 5 + 3))


def test_what_a_mask_took_is_no_unit():
    net = hidden(4)
    masked = isoprune.prune(net, data()[0], 0.5, mask=True)
    gone = isoprune.prune(net, data()[0], 0.5)
    left = number(gone, "dead_units", data())
    assert number(masked, "dead_units", data()) == left
    assert left * 8 == pytest.approx(round(left * 8))


def test_a_network_without_such_layers_is_refused():
    assert "none ran" in refusal(nn.Sequential(nn.BatchNorm1d(5)).double().eval(), "dead_units", data())
