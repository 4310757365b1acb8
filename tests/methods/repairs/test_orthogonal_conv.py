"""Orthogonal convolutions in networks: isometry by the Jacobian, stride, groups, padding, transposition."""

from __future__ import annotations

import pytest
import torch
from repair_networks import every_layer, inputs, run, seeded
from torch import nn

from isoprune.isometry import jacobian_singular_values
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import delta_orthogonal, orthogonal_conv, polar

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def conv(a, b, k, **options):
    padding = {"padding": (k - 1) // 2, "padding_mode": "circular"} if k % 2 else {}
    return nn.Conv2d(a, b, k, **{**padding, **options})


def sigma_of(net, *shape):
    return jacobian_singular_values(net, inputs(1, *shape))[0]


def test_linear_network_of_convolutions_is_isometric_and_polar_is_not():
    net = seeded(lambda: nn.Sequential(conv(2, 3, 3), conv(3, 4, 3), conv(4, 4, 1)))
    sigma = sigma_of(run(orthogonal_conv, net, gain=1.5), 2, 5, 5)
    torch.testing.assert_close(sigma, torch.full((50,), 1.5**3).double(), **CLOSE)
    spread = sigma_of(run(polar, net, gain=1.5), 2, 5, 5)
    assert spread.max() / spread.min() > 2


@pytest.mark.parametrize(("filters", "channels"), [(3, 4), (4, 4), (5, 3)])
def test_stride_keeps_rows_orthonormal(filters, channels):
    net = run(orthogonal_conv, seeded(lambda: nn.Sequential(conv(channels, filters, 3, stride=2))), gain=1)
    sigma = sigma_of(net, channels, 6, 6)
    assert sigma.max() < 1 + 1e-9
    if filters <= channels:
        torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)


def test_patches_that_do_not_overlap_take_the_polar_factor():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 2, stride=2)))
    new = run(orthogonal_conv, net, gain=1)
    torch.testing.assert_close(new[0].weight, run(polar, net, gain=1)[0].weight)
    sigma = sigma_of(new, 3, 4, 4)
    torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)


@pytest.mark.parametrize("padding", [0, 1])
def test_without_circular_padding_nothing_is_stretched(padding):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=padding)))
    sigma = sigma_of(run(orthogonal_conv, net, gain=1), 3, 6, 6)
    assert sigma.max() < 1 + 1e-9
    assert sigma.median() > 0.9


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_and_depthwise(groups):
    net = run(orthogonal_conv, seeded(lambda: nn.Sequential(conv(4, 4, 3, groups=groups))), gain=1)
    sigma = sigma_of(net, 4, 5, 5)
    torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)
    if groups == 4:
        assert (net[0].weight != 0).flatten(1).sum(1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 2)])
def test_transposed_convolution(stride, kernel):
    net = seeded(lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, kernel, stride=stride)))
    sigma = sigma_of(run(orthogonal_conv, net, gain=1), 3, 4, 4)
    # Nothing wraps around where the full output is kept: 3 channels in, isometric into 4 of larger size.
    torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)


def test_dilation():
    net = seeded(lambda: nn.Sequential(conv(2, 3, 3, dilation=2, padding=2)))
    sigma = sigma_of(run(orthogonal_conv, net, gain=1), 2, 6, 6)
    torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)


def test_nearer_than_random_and_more_steps_nearer():
    net = seeded(lambda: conv(6, 8, 3))

    def distance(new):
        a, b = new.weight.detach(), net.weight.detach()
        return (a / a.norm() - b / b.norm()).norm()

    random = distance(run(delta_orthogonal, net, gain=1))
    start, near = (distance(run(orthogonal_conv, net, gain=1, steps=steps)) for steps in (0, 50))
    assert near < start < random


def test_linear_and_attention_are_polar_and_every_layer_is_finite():
    net = seeded(every_layer)
    new = run(orthogonal_conv, net, gain=2, steps=5)
    for name in ("linear", "tall", "pointwise"):
        torch.testing.assert_close(new[name].weight, run(polar, net, gain=2)[name].weight)
    for weight in weights(new):
        assert torch.isfinite(weight.matrices).all()
        # A semi-orthogonal operator has semi-orthogonal filter matrices at least.
        sigma = torch.linalg.svdvals(weight.matrices)
        assert sigma.max() <= 2 + 1e-9
    assert torch.equal(net["conv2"].bias, new["conv2"].bias)


def test_classifier_gain():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)))
    new = run(orthogonal_conv, net, classifier_gain=1)
    torch.testing.assert_close(torch.linalg.svdvals(new[2].weight.detach()), torch.ones(3).double())
    torch.testing.assert_close(new[0].weight @ new[0].weight.mT, 2 * torch.eye(4).double())
