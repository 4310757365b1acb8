"""Exact orthogonal sparse weights: isometry to rounding at a mask's own count."""

from __future__ import annotations

import pytest
import torch
from repair_networks import every_layer, inputs, masked, mlp, run, seeded
from torch import nn
from torch.nn.utils import prune

from isoprune.isometry import jacobian_singular_values
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import exact_orthogonal_sparse
from isoprune.types import IsopruneError

CLOSE = {"rtol": 0, "atol": 1e-10}


def require_isometries(new, gain=1.0):
    for weight in weights(new):
        for W in weight.matrices:
            sigma = torch.linalg.svdvals(W)
            torch.testing.assert_close(sigma, torch.full_like(sigma, gain), **CLOSE)


def test_masked_linear_network_is_exactly_isometric_within_its_mask():
    net = masked(seeded(lambda: mlp(20, 20, 20, 20, activation=nn.Identity)), 0.6)
    new = run(exact_orthogonal_sparse, net)
    sigma = jacobian_singular_values(new, inputs(2, 20))
    torch.testing.assert_close(sigma, torch.ones(2, 20).double(), **CLOSE)
    for a, b in zip(weights(net), weights(new), strict=True):
        assert torch.equal(a.mask, b.mask)
        assert not b.matrices[~b.arranged(b.mask)].any()
        assert (b.matrices != 0).sum() > 1.2 * 20  # not a permutation alone
    assert torch.equal(net[0].bias, new[0].bias)


def test_every_layer_at_a_density():
    net = seeded(every_layer)
    new = run(exact_orthogonal_sparse, net, gain=2, density=0.5)
    require_isometries(new, 2)
    for weight in weights(new):
        block = weight.matrices[0]
        assert (weight.matrices != 0).sum() <= 0.5 * weight.matrices.numel()
        short = (weight.matrices != 0).sum() - 0.5 * weight.matrices.numel()
        assert abs(short) <= weight.blocks * min(block.shape) + weight.blocks
    require_isometries(run(exact_orthogonal_sparse, net, gain=1))


def test_a_group_that_a_mask_leaves_nothing_of_stays_zero():
    net = masked(seeded(lambda: nn.Sequential(nn.Conv2d(6, 6, 3, groups=6))), 0.7)
    net[0].weight_mask[0] = 0
    new = run(exact_orthogonal_sparse, net, gain=1)
    lengths = new[0].weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.0, 1, 1, 1, 1, 1]).double(), **CLOSE)
    assert not new[0].weight[new[0].weight_mask == 0].any()


def test_a_mask_without_room_names_the_layer():
    net = seeded(lambda: mlp(3, 3, 3))
    prune.custom_from_mask(net[0], "weight", torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 1]]))
    with pytest.raises(IsopruneError, match=r"^0: The mask leaves no room .* only 2 can have"):
        run(exact_orthogonal_sparse, net)


def test_too_few_weights_name_the_layer():
    with pytest.raises(IsopruneError, match=r"^0: A matrix \[10, 10\].*at least 10.*5 are left"):
        run(exact_orthogonal_sparse, seeded(lambda: mlp(10, 10, 10)), density=0.05)


@pytest.mark.parametrize("density", [0, 1.5])
def test_bad_density(density):
    with pytest.raises(IsopruneError, match=r"density is .*in \(0, 1\]"):
        run(exact_orthogonal_sparse, seeded(lambda: mlp(3, 3)), density=density)
