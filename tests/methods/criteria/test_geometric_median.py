"""`geometric_median` against loops over pairs of filters, and what it is for."""

from __future__ import annotations

import pytest
import torch

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.pruning.grains import units_of
from methods.criteria.test_values import scored


def by_loops(rows):
    return torch.stack([sum((a - b).square().sum().sqrt() for b in rows) for a in rows])


@pytest.mark.parametrize("net", ["flattened", "grouped", "transposed"])
def test_it_is_the_sum_of_distances_to_every_filter_of_the_tensor(net):
    model, x = network(net)
    for u in units_of(trace(model, x), "filter"):
        W = model.get_parameter(u.name).detach()
        rows = W.transpose(0, 1) if (net, u.name) == ("transposed", "mid.weight") else W
        torch.testing.assert_close(scored("geometric_median", model, [u], x)[u.name], by_loops(rows))


def test_channels_get_the_mean_over_the_layers_that_make_them():
    model, x = network("residual")
    want = torch.stack([by_loops(m.weight.detach()) for m in (model.stem, model.a, model.b)]).mean(0)
    torch.testing.assert_close(scored("geometric_median", model, trace(model, x).groups, x)["stem"], want)


def test_two_filters_that_stand_for_one_channel_are_one_vector():
    model, x = network("depthwise_twice")
    made = [model.up.weight.detach().flatten(1), model.depth.weight.detach().reshape(8, -1)]
    want = torch.stack([by_loops(rows) for rows in made]).mean(0)
    torch.testing.assert_close(scored("geometric_median", model, trace(model, x).groups, x)["up"], want)


def test_equal_filters_score_alike_and_a_large_one_amid_others_is_the_first_to_go():
    model, x = network("mlp")
    with torch.no_grad():
        W = torch.zeros(10, 7, dtype=torch.float64)
        W[:, 0] = torch.tensor([3.0, 5, 3, 4, 8, 9, 2, 4.5, 4.5, 1])  # 4 is their middle, 1 the smallest
        model[0].weight.copy_(W)
    got = scored("geometric_median", model, trace(model, x).groups, x)["0"]
    assert got[0] == got[2]
    assert got[7] == got[8]
    assert int(got.argmin()) in (3, 7, 8)
    assert got[9] > got[3]
