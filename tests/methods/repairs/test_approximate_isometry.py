"""Approximate isometry of masked networks: the mask stays, the Jacobian's spread shrinks."""

from __future__ import annotations

import pytest
import torch
from repair_networks import every_layer, inputs, masked, mlp, run, seeded
from torch import nn
from torch.nn.utils import prune

from isoprune.isometry import jacobian_singular_values
from isoprune.linalg import isometry_loss
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import approximate_isometry

CLOSE = {"rtol": 1e-7, "atol": 1e-7}


def test_every_unmasked_filter_matrix_becomes_an_isometry():
    new = run(approximate_isometry, seeded(every_layer), gain=2)
    for weight in weights(new):
        for W in weight.matrices:
            assert isometry_loss(W / 2) < 1e-14


def test_linear_network_without_a_mask_is_isometric():
    net = seeded(lambda: mlp(9, 7, 7, 5, activation=nn.Identity))
    sigma = jacobian_singular_values(run(approximate_isometry, net, classifier_gain=3), inputs(3, 9))
    torch.testing.assert_close(sigma, torch.full((3, 5), 3.0).double(), **CLOSE)


def test_mask_stays_and_masked_weights_come_nearer_to_isometry():
    net = masked(seeded(lambda: mlp(20, 20, 20, 10, activation=nn.Identity)))
    new = run(approximate_isometry, net)
    for a, b in zip(weights(net), weights(new), strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(a.parameter[a.mask == 0], b.parameter[a.mask == 0])
        before, after = a.matrices[0], b.matrices[0]
        best = before * (before.norm() ** 2 / (before @ before.mT).norm() ** 2) ** 0.5
        assert isometry_loss(after) < 0.2 * isometry_loss(best)
    x = inputs(3, 20)
    spread = [s.std() / s.mean() for s in (jacobian_singular_values(n, x) for n in (net, new))]
    assert spread[1] < 0.5 * spread[0]


def test_masked_convolutions_in_groups():
    net = masked(seeded(lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8))))
    new = run(approximate_isometry, net, gain=1)
    for weight in weights(new):
        assert (weight.matrices[weight.arranged(weight.mask) == 0] == 0).all()
        for W in weight.matrices:
            assert isometry_loss(W) < 1e-6


def test_masked_projections_of_an_attention():
    net = seeded(lambda: nn.MultiheadAttention(12, 2))
    prune.l1_unstructured(net, "in_proj_weight", 0.5)
    new = run(approximate_isometry, net, gain=1)
    (weight,) = [w for w in weights(new) if w.mask is not None]
    assert len(weight.matrices) == 3
    for W in weight.matrices:
        assert isometry_loss(W) < 1e-6
    torch.testing.assert_close(new.in_proj_weight, new.in_proj_weight_orig * net.in_proj_weight_mask)


@pytest.mark.parametrize("steps", [1, 200])
def test_what_the_module_computes_is_the_repaired_weight(steps):
    net = masked(seeded(lambda: mlp(6, 5)))
    new = run(approximate_isometry, net, steps=steps)
    torch.testing.assert_close(new[0].weight.detach(), new[0].weight_orig * new[0].weight_mask)
    x = inputs(2, 6)
    torch.testing.assert_close(new(x), x @ (new[0].weight_orig * new[0].weight_mask).mT + new[0].bias)
