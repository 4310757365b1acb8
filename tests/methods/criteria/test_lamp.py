"""LAMP against its definition by loops, and what one threshold over all layers does with it."""

from __future__ import annotations

import pytest
import torch

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.pruning.grains import units_of
from methods.criteria.test_values import scored


@pytest.mark.parametrize("grain", ["weight", "filter", "kernel", "2x3"])
def test_it_is_the_square_over_the_squares_that_are_not_smaller(grain):
    model, x = network("flattened")
    units = units_of(trace(model, x), grain)
    norms = scored("l2_norm", model, units, x)
    ones = scored("l2_norm", model, units_of(trace(model, x), "weight"), x)
    for u in units:
        (member,) = u.members
        W = ones[u.name].square()
        if member.unit is None:
            squares = W.flatten()
        else:
            unit = member.unit.expand(W.shape)
            squares = torch.stack([W[unit == i].sum() for i in range(u.size)])
        want = torch.stack([s / squares[squares >= s].sum() for s in squares])
        got = scored("lamp", model, [u], x)[u.name].flatten()
        torch.testing.assert_close(got, want)
        assert float(got.max()) == 1
        if grain == "weight":
            assert torch.equal(got.argsort(), norms[u.name].flatten().argsort())


def test_no_layer_is_emptied_and_the_size_of_a_layer_s_weights_does_not_matter():
    model, x = network("mlp")
    how = {"criterion": "lamp", "grain": "weight", "allocation": "global"}
    before = isoprune.prune(model, x, 0.98, **how).plan
    with torch.no_grad():
        model[2].weight.mul_(1e-3)
    after = isoprune.prune(model, x, 0.98, **how).plan
    assert before == after
    assert all(bool(mask.any()) for mask in before.kept.values())
    by_size = isoprune.prune(model, x, 0.9, grain="weight", allocation="global").plan
    assert int(by_size.kept["2.weight"].sum()) == 1  # what `floor` holds: magnitude empties it


def test_zeros_and_equals():
    model, x = network("mlp")
    with torch.no_grad():
        model[0].weight.zero_()
        model[2].weight.fill_(2.0)
    got = scored("lamp", model, units_of(trace(model, x), "weight"), x)
    assert not got["0.weight"].any()
    torch.testing.assert_close(got["2.weight"].flatten(), 1 / torch.arange(1, 81, dtype=torch.float64))
