"""Convolutions of few channels: the same values and gradients, by columns only where that is meant."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.isometry.thin_convolutions import ThinConvolutions, cheaper_convolutions

GEOMETRIES = [
    (1, 6, 5, {}), (3, 8, 3, {"padding": 1}), (2, 7, (3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    (3, 32, 4, {"stride": 4}), (1, 4, 3, {"dilation": 2}), (3, 6, 3, {"groups": 3}),
    (3, 4, 3, {"padding": "same"}), (5, 4, 3, {}), (3, 1, 7, {}),
]  # fmt: skip


def columns(y):
    """Tell whether the backward of ``y`` goes by columns."""
    return "_ByColumns" in type(y.grad_fn).__name__


@pytest.mark.parametrize(("channels", "filters", "kernel", "options"), GEOMETRIES, ids=str)
def test_values_and_gradients_are_torchs(channels, filters, kernel, options):
    conv = nn.Conv2d(channels, filters, kernel, **options).double().requires_grad_(False)
    x = torch.randn(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    want = conv(x)
    with ThinConvolutions():
        got = conv(x)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    u = torch.randn(3, *want.shape, dtype=torch.float64)
    for batched in (True, False):
        a, b = (
            torch.autograd.grad(y, x, u if batched else u[0], is_grads_batched=batched, retain_graph=True)[0]
            for y in (got, want)
        )
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    thin = channels <= 3 and not {"dilation", "groups"} & options.keys() and options.get("padding") != "same"
    assert columns(got) == (thin and filters > 1)


def test_nothing_is_exchanged_where_a_gradient_of_the_weight_is_wanted():
    x = torch.randn(1, 1, 6, 6, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, requires_grad=True)
    with ThinConvolutions():
        assert not columns(F.conv2d(x, weight))
        assert not columns(F.conv2d(x.detach(), weight))


def test_models_without_a_thin_convolution_pay_nothing():
    assert isinstance(cheaper_convolutions(nn.Sequential(nn.Conv2d(1, 2, 3))), ThinConvolutions)
    for net in (nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Conv2d(4, 2, 3))):
        assert not isinstance(cheaper_convolutions(net), ThinConvolutions)
