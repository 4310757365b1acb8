"""A convolution alone: the singular values of the operator that it is on images, against the closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoprune.isometry import jacobian_singular_values

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def layer(channels, filters, **options):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return nn.Conv2d(channels, filters, 3, padding=1, padding_mode="circular", **options).double().eval()


def image(channels, *size):
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(1)).double()


def test_with_circular_padding_each_frequency_is_a_matrix_of_its_own():
    """Sedghi, Gupta & Long, 2019."""
    net = layer(2, 3)
    kernels = torch.fft.fft2(net.weight.detach(), s=(4, 6)).permute(2, 3, 0, 1)
    want = torch.linalg.svdvals(kernels).flatten().sort(descending=True)[0]
    torch.testing.assert_close(jacobian_singular_values(net, image(2, 4, 6))[0], want, **CLOSE)


def test_with_stride_two_the_four_frequencies_that_alias_share_a_matrix():
    net = layer(2, 9, stride=2)
    kernels = torch.fft.fft2(net.weight.detach(), s=(4, 6)).unflatten(3, (2, 3)).unflatten(2, (2, 2))
    blocks = kernels.permute(3, 5, 0, 1, 2, 4).flatten(3) / 2
    want = torch.linalg.svdvals(blocks).flatten().sort(descending=True)[0]
    torch.testing.assert_close(jacobian_singular_values(net, image(2, 4, 6))[0], want, **CLOSE)


def test_orthonormal_filters_are_not_an_orthogonal_operator():
    net = layer(2, 6)
    net.weight.data = torch.linalg.qr(torch.randn(18, 6, dtype=torch.float64))[0].mT.reshape(6, 2, 3, 3)
    sigma = jacobian_singular_values(net, image(2, 6, 6))
    assert sigma.max() > 1.2
    # Every input is read nine times: the squares sum to outputs x |filter|^2, whatever the spread.
    assert sigma.square().sum().item() == pytest.approx(36 * 6)
