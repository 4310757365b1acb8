"""Delta-orthogonal: networks whose Jacobian has one singular value, and where they have not."""

from __future__ import annotations

import itertools

import pytest
import torch
from repair_networks import every_layer, inputs, run, seeded
from torch import nn

from isoprune.isometry import jacobian_singular_values
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import delta_orthogonal

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def chain(*channels, **options):
    """Return convolutions of kernel 3 in a row, none of them narrowing."""
    options = {"padding": 1, "padding_mode": "circular", **options}
    return nn.Sequential(*(nn.Conv2d(a, b, 3, **options) for a, b in itertools.pairwise(channels)))


@pytest.mark.parametrize("mode", ["circular", "zeros"])
def test_widening_convolutions_stretch_all_inputs_by_the_product_of_gains(mode):
    net = run(delta_orthogonal, seeded(lambda: chain(2, 4, 4, 6, padding_mode=mode)), gain=1.5)
    sigma = jacobian_singular_values(net, inputs(2, 2, 4, 4))
    torch.testing.assert_close(sigma, torch.full((2, 32), 1.5**3).double(), **CLOSE)


def test_narrowing_loses_directions():
    net = run(delta_orthogonal, seeded(lambda: chain(2, 4, 2)), gain=1)
    sigma = jacobian_singular_values(net, inputs(1, 2, 4, 4))
    assert sigma.max() <= 1 + 1e-10
    assert sigma.min() < 0.99


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_stay_orthonormal_under_stride_where_filters_are_not_more_than_channels(stride):
    net = run(delta_orthogonal, seeded(lambda: chain(4, 3, stride=stride)), gain=1)[0]
    sigma = jacobian_singular_values(net, inputs(1, 4, 4, 4))
    torch.testing.assert_close(sigma, torch.ones_like(sigma), **CLOSE)


def test_every_layer_is_zero_but_for_one_semi_orthogonal_tap():
    net = seeded(every_layer)
    new = run(delta_orthogonal, net, gain=1)
    for weight in weights(new):
        taps = getattr(weight.module, "kernel_size", ())
        for W in weight.matrices:
            kernel = W.reshape(len(W), -1, *taps)
            tap = kernel[(..., *(k // 2 for k in taps))]
            assert tap.square().sum().item() == pytest.approx(W.square().sum().item())
            torch.testing.assert_close(
                torch.linalg.svdvals(tap), torch.ones(min(tap.shape)).double(), **CLOSE
            )
    assert torch.equal(net["conv2"].bias, new["conv2"].bias)


def test_kept_weights_do_not_matter_and_the_generator_does():
    a, b = (seeded(lambda: chain(3, 3), seed=seed)[:1] for seed in (0, 1))
    b[0].bias = a[0].bias
    one, two = run(delta_orthogonal, a, gain=1), run(delta_orthogonal, b, gain=1)
    assert torch.equal(one[0].weight, two[0].weight)
    assert not torch.equal(one[0].weight, run(delta_orthogonal, a, seed=1, gain=1)[0].weight)
