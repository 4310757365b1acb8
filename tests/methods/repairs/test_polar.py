"""Polar: the nearest isometry, in every kind of layer, whatever the order of filters."""

from __future__ import annotations

import pytest
import torch
from repair_networks import every_layer, inputs, mlp, run, seeded
from torch import nn
from torch.nn.utils import prune

from isoprune.isometry import jacobian_singular_values
from isoprune.linalg import polar_factor
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import orthp, polar

CLOSE = {"rtol": 1e-9, "atol": 1e-10}
both = pytest.mark.parametrize("solver", ["svd", "newton_schulz"])


@both
def test_every_filter_matrix_becomes_an_isometry_and_the_rest_stays(solver):
    net = seeded(every_layer)
    new = run(polar, net, gain=2, solver=solver)
    changed = set()
    for weight in weights(new):
        for W in weight.matrices:
            torch.testing.assert_close(
                torch.linalg.svdvals(W), torch.full((min(W.shape),), 2.0).double(), **CLOSE
            )
        changed.add(id(weight.parameter))
    for a, b in zip(net.parameters(), new.parameters(), strict=True):
        assert torch.equal(a, b) == (id(b) not in changed)


@both
def test_linear_network_is_isometric(solver):
    net = seeded(lambda: mlp(9, 7, 7, 5, activation=nn.Identity))
    x = inputs(3, 9)
    sigma = jacobian_singular_values(run(polar, net, solver=solver), x)
    torch.testing.assert_close(sigma, torch.ones(3, 5).double(), **CLOSE)
    sigma = jacobian_singular_values(run(polar, net, solver=solver, gain=3, classifier_gain=0.5), x)
    torch.testing.assert_close(sigma, torch.full((3, 5), 4.5).double(), **CLOSE)


def test_gain_is_that_of_the_activation():
    W = run(polar, seeded(lambda: mlp(4, 4, 4)))[2].weight.detach()
    torch.testing.assert_close(W @ W.mT, 2 * torch.eye(4, dtype=torch.float64), **CLOSE)


def test_is_nearer_to_the_kept_weights_than_orthp():
    net = seeded(lambda: nn.Conv2d(3, 5, 3))
    distance = [(run(f, net, gain=1).weight - net.weight).norm() for f in (polar, orthp)]
    assert distance[0] < distance[1]


@both
def test_dead_filters_and_lower_rank_stay(solver):
    net = seeded(lambda: nn.Linear(6, 4))
    net.weight.data[1] = 0
    net.weight.data[3] = 2 * net.weight.data[0]
    new = run(polar, net, gain=1, solver=solver).weight.detach()
    assert new[1].abs().max() < 1e-12
    torch.testing.assert_close(new[3], 2 * new[0], **CLOSE)
    torch.testing.assert_close(torch.linalg.svdvals(new), torch.tensor([1.0, 1, 0, 0]).double(), **CLOSE)
    net.weight.data.zero_()
    assert (run(polar, net, gain=1, solver=solver).weight == 0).all()


def test_of_a_masked_matrix_the_factor_is_taken_and_the_mask_stays():
    net = nn.Sequential(nn.Linear(3, 3))
    prune.l1_unstructured(net[0], "weight", 0.5)
    new, mask = run(polar, net, gain=1)[0], net[0].weight_mask
    torch.testing.assert_close(new.weight, polar_factor(net[0].weight.detach()) * mask)
