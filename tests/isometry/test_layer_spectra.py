"""Spectra of layers where they stand in a network."""

from __future__ import annotations

import pytest
import torch
from isometry_networks import make
from torch import nn

from isoprune.isometry import filter_spectrum, jacobian_singular_values, layer_spectra
from reference import matrix_of

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def test_every_layer_has_the_spectrum_of_its_matrix_at_its_place():
    model, x = make("residual", samples=1)
    sizes = {"0": 8, "3.conv1": 8, "4.conv1": 8, "4.conv2": 4, "4.short": 8}
    found = {s.name: s for s in layer_spectra(model, x)}
    assert set(found) == {n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    for name, size in sizes.items():
        layer = model.get_submodule(name)
        with torch.no_grad():
            shape = (layer.in_channels, size, size)
            matrix = matrix_of(lambda z, layer=layer: layer(z[None])[0], shape)
        torch.testing.assert_close(found[name].operator.sigma, torch.linalg.svdvals(matrix), **CLOSE)
        W = layer.weight.detach().flatten(1)
        torch.testing.assert_close(found[name].filters, torch.linalg.svdvals(W), **CLOSE)
    head = torch.linalg.svdvals(model[7].weight.detach())
    torch.testing.assert_close(found["7"].operator.sigma, head, **CLOSE)
    assert not any(m._forward_hooks for m in model.modules())


def test_one_layer_networks_jacobian_has_the_operators_spectrum():
    for layer, shape in (
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
        (nn.Conv2d(4, 4, 3, stride=2, groups=2), (4, 7, 7)),
        (nn.ConvTranspose2d(3, 2, 3, stride=2), (3, 3, 3)),
        (nn.Linear(5, 3), (5,)),
    ):
        net = nn.Sequential(layer).double().eval()
        x = torch.randn(1, *shape, dtype=torch.float64)
        (spectrum,) = layer_spectra(net, x)
        torch.testing.assert_close(spectrum.operator.sigma, jacobian_singular_values(net, x)[0], **CLOSE)


def test_filter_spectrum_of_half_precision_is_computed_in_float32():
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    got = filter_spectrum(weight)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.linalg.svdvals(weight.float().flatten(1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_is_that_of_the_forward(dtype):
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(3, 2)
            self.first = nn.Linear(3, 3)

        def forward(self, x):
            return self.second(self.first(self.first(x)))

    found = layer_spectra(Crossed().to(dtype).eval(), torch.randn(2, 3, dtype=dtype))
    assert [s.name for s in found] == ["first", "second"]
