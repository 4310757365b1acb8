"""Criteria against their definitions: closed forms, loops over units, finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals

GRAINS = ("channel", "head", "filter", "kernel", "vector", "weight", "2:4", "2x3")
EPS = 1e-5


def scored(name, model, units, x, seed=0):
    data = [(x, torch.arange(len(x)) % 5)]
    return scores_of(name, Signals(model, data), units, generator=torch.Generator().manual_seed(seed))


def places(units, shape):
    """Yield, for every unit of a tensor, which of its elements are its own (bool)."""
    (member,) = units.members
    unit = torch.arange(units.size).reshape(shape) if member.unit is None else member.unit.expand(shape)
    for i in range(units.size):
        yield unit == i


def loss(model, x):
    return F.cross_entropy(model(x), torch.arange(len(x)) % 5)


def slope(model, tensor, change, x):
    """Return d loss / d t of a tensor plus t times ``change``, by central differences."""
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.get_parameter(tensor).add_(sign * EPS * change)
            values.append(loss(moved, x))
    return (values[0] - values[1]) / (2 * EPS)


@pytest.mark.parametrize("grain", ["filter", "kernel", "vector", "weight", "2:4", "2x3"])
@pytest.mark.parametrize("net", ["flattened", "grouped", "transposed", "multihead"])
def test_norms_are_means_over_the_weights_of_a_unit(net, grain):
    model, x = network(net)
    units = units_of(trace(model, x), grain)
    l1, l2 = (scored(name, model, units, x) for name in ("l1_norm", "l2_norm"))
    for u in units:
        W = model.get_parameter(u.members[0].tensor).detach()
        want = [(W[own].abs().mean(), W[own].square().mean().sqrt()) for own in places(u, W.shape)]
        one, two = (torch.stack(column).reshape(u.shape) for column in zip(*want, strict=True))
        torch.testing.assert_close(l1[u.name], one)
        torch.testing.assert_close(l2[u.name], two)


def test_norms_of_channels_have_their_closed_form():
    model, x = network("flattened")
    units = trace(model, x).groups
    W, V = model[0].weight.detach().flatten(1), model[5].weight.detach()
    l1, l2 = (scored(name, model, units, x) for name in ("l1_norm", "l2_norm"))
    torch.testing.assert_close((l1["0"], l1["5"]), (W.abs().mean(1), V.abs().mean(1)))
    torch.testing.assert_close((l2["0"], l2["5"]), (W.square().mean(1).sqrt(), V.square().mean(1).sqrt()))


def test_channels_that_several_layers_make_get_the_mean_over_those():
    model, x = network("residual")
    made = [m.weight.detach().flatten(1).abs().mean(1) for m in (model.stem, model.a, model.b)]
    got = scored("l1_norm", model, trace(model, x).groups, x)
    torch.testing.assert_close(got["stem"], torch.stack(made).mean(0))


def test_heads_get_the_mean_over_their_projections():
    model, x = network("heads")
    made = [m.weight.detach().reshape(4, -1).abs().mean(1) for m in (model.q, model.k, model.v)]
    got = scored("l1_norm", model, units_of(trace(model, x), "head"), x)
    torch.testing.assert_close(got["q.heads"], torch.stack(made).mean(0))


def of_one_tensor(net, grain, tensor):
    """Return a network, its inputs, and its units in one tensor."""
    model, x = network(net)
    units = [u for u in units_of(trace(model, x), grain) if u.name == tensor]
    return model, x, units


CASES = pytest.mark.parametrize(
    ("net", "tensor", "grain"),
    [("flattened", "0.weight", g) for g in ("filter", "kernel", "vector", "weight", "2:4", "2x3")]
    + [("mlp", "2.weight", "filter"), ("mlp", "2.weight", "weight"), ("flattened", "5.weight", "filter")],
)


@CASES
def test_taylor_is_the_slope_of_a_gate_on_each_unit(net, tensor, grain):
    model, x, units = of_one_tensor(net, grain, tensor)
    W = model.get_parameter(tensor).detach()
    want = [slope(model, tensor, W * own, x).abs() for own in places(units[0], W.shape)]
    got = scored("taylor", model, units, x)[tensor]
    torch.testing.assert_close(got.flatten(), torch.stack(want), rtol=1e-5, atol=1e-9)


@CASES
def test_fisher_is_half_the_mean_square_of_the_slopes_of_single_samples(net, tensor, grain):
    model, x, units = of_one_tensor(net, grain, tensor)
    W = model.get_parameter(tensor).detach()
    want = torch.zeros(units[0].size, dtype=torch.float64)
    for n in range(len(x)):
        for i, own in enumerate(places(units[0], W.shape)):
            moved = slope_of_sample(model, tensor, W * own, x, n)
            want[i] += moved.square() / (2 * len(x))
    got = scored("fisher", model, units, x)[tensor]
    torch.testing.assert_close(got.flatten(), want, rtol=1e-5, atol=1e-9)


def slope_of_sample(model, tensor, change, x, n):
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            moved.get_parameter(tensor).add_(sign * EPS * change)
            values.append(F.cross_entropy(moved(x[n : n + 1]), torch.tensor([n % 5])))
    return (values[0] - values[1]) / (2 * EPS)


@CASES
def test_snip_is_the_slope_of_a_mask_on_each_weight_added_up_over_a_unit(net, tensor, grain):
    model, x, units = of_one_tensor(net, grain, tensor)
    W = model.get_parameter(tensor).detach()
    slopes = torch.zeros_like(W)
    for place in range(W.numel()):
        one = torch.zeros(W.numel(), dtype=W.dtype)
        one[place] = 1
        # The weight times a mask that is one, and is moved at this place.
        slopes.view(-1)[place] = slope(model, tensor, W * one.reshape(W.shape), x).abs()
    want = torch.stack([slopes[own].sum() for own in places(units[0], W.shape)])
    got = scored("snip", model, units, x)[tensor]
    torch.testing.assert_close(got.flatten(), want, rtol=1e-5, atol=1e-9)


def test_random_scores_are_drawn_from_the_generator():
    model, x = network("mlp")
    one, two = (scored("random", model, trace(model, x).groups, x, seed=s) for s in (1, 2))
    assert not torch.equal(one["0"], two["0"])
