"""Operator spectra against the explicit matrix of torch's own layer, closed forms, and bounds that hold."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from isoprune.linalg import convolution, convolution_spectrum
from isoprune.types import IsopruneError
from reference import matrix_of

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def layer(channels, filters, kernel, dims, **options):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return LAYERS[dims](channels, filters, kernel, bias=False, **options).double()


def spectrum(net, in_size):
    return convolution_spectrum(
        net.weight, in_size, stride=net.stride, padding=net.padding, dilation=net.dilation,
        groups=net.groups, padding_mode=net.padding_mode,
    )  # fmt: skip


def explicit(net, in_size):
    """Return NumPy's singular values of the layer's matrix, column by column."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # even kernels under "same" are copied
        matrix = matrix_of(lambda x: net(x[None])[0], (net.in_channels, *in_size))
    return torch.from_numpy(np.linalg.svd(matrix.numpy(), compute_uv=False))


CIRCULAR = [
    ((2, 3, 3, 1), (8,), {"padding": 1}),
    ((2, 3, 3, 1), (8,), {"padding": 1, "stride": 2}),
    ((3, 2, 5, 1), (9,), {"padding": 2, "stride": 3}),
    ((2, 3, 3, 2), (4, 6), {"padding": 1}),
    ((2, 5, 3, 2), (6, 6), {"padding": 1, "stride": 2}),
    ((3, 2, (3, 5), 2), (6, 8), {"padding": (1, 2), "stride": (1, 2)}),
    ((2, 2, 3, 2), (7, 7), {"padding": 2, "dilation": 2}),
    ((2, 2, 3, 2), (3, 4), {"padding": 2, "dilation": 2}),
    ((4, 6, 3, 2), (5, 5), {"padding": 1, "groups": 2}),
    ((3, 3, 3, 2), (4, 4), {"padding": 1, "groups": 3}),
    ((2, 3, 2, 2), (5, 5), {"padding": "same"}),
    ((1, 2, 3, 3), (4, 4, 2), {"padding": 1, "stride": (2, 1, 1)}),
]


@pytest.mark.parametrize(("shape", "in_size", "options"), CIRCULAR)
def test_circular_padding_is_exact_by_fourier(shape, in_size, options):
    net = layer(*shape, padding_mode="circular", **options)
    got = spectrum(net, in_size)
    assert got.exact
    assert got.how.startswith("Fourier")
    torch.testing.assert_close(got.sigma, explicit(net, in_size), **CLOSE)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(
    ("shape", "in_size", "options"),
    [
        *CIRCULAR[:7],
        CIRCULAR[8],
        CIRCULAR[10],
        ((2, 3, 3, 2), (6, 5), {}),
        ((2, 3, 3, 2), (6, 5), {"stride": 2}),
    ],
)
def test_other_padding_is_taken_apart(shape, in_size, options, mode):
    net = layer(*shape, padding_mode=mode, **options)
    got = spectrum(net, in_size)
    assert got.exact
    torch.testing.assert_close(got.sigma, explicit(net, in_size), **CLOSE)


def test_circular_padding_that_is_not_cyclic_is_taken_apart():
    net = layer(2, 3, 3, 1, padding=1, stride=2, padding_mode="circular")
    got = spectrum(net, (7,))  # four outputs of stride 2 on seven points
    assert got.how == "explicit matrix"
    torch.testing.assert_close(got.sigma, explicit(net, (7,)), **CLOSE)


@pytest.mark.parametrize(
    ("shape", "in_size", "options"), [*CIRCULAR[:5], ((2, 3, 3, 2), (6, 5), {}), CIRCULAR[8]]
)
def test_bounds_are_above_every_singular_value(shape, in_size, options, monkeypatch):
    net = layer(*shape, **options)
    monkeypatch.setattr(convolution, "_EXPLICIT_WORK", 0)
    got = spectrum(net, in_size)
    want = explicit(net, in_size)
    assert not got.exact
    assert got.how.startswith("upper bounds")
    assert got.sigma.shape == want.shape
    assert (got.sigma >= want - 1e-12).all()
    # Loose by the border only: on these few points by half at most.
    assert got.sigma[0] <= 1.5 * want[0]


def test_bounds_close_in_as_the_border_matters_less(monkeypatch):
    net = layer(1, 2, 3, 1, padding=1)
    gaps = []
    for n in (8, 32, 128):
        want = explicit(net, (n,)).mean()
        with monkeypatch.context() as patch:
            patch.setattr(convolution, "_EXPLICIT_WORK", 0)
            gaps.append(float(spectrum(net, (n,)).sigma.mean() / want - 1))
    assert 0 < gaps[2] < gaps[1] / 2 < gaps[0] / 4


def test_delta_orthogonal_kernels_give_ones():
    net = layer(3, 5, 3, 2, padding=1, padding_mode="circular")
    net.weight.data.zero_()
    net.weight.data[:, :, 1, 1] = torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64))[0]
    torch.testing.assert_close(spectrum(net, (6, 6)).sigma, torch.ones(108).double(), **CLOSE)
    net.padding_mode = "zeros"  # the centre tap never reads the border
    torch.testing.assert_close(spectrum(net, (6, 6)).sigma, torch.ones(108).double(), **CLOSE)


def test_orthonormal_filters_are_not_an_orthogonal_operator():
    net = layer(2, 6, 3, 2, padding=1, padding_mode="circular")
    net.weight.data = torch.linalg.qr(torch.randn(18, 6, dtype=torch.float64))[0].mT.reshape(6, 2, 3, 3)
    sigma = spectrum(net, (6, 6)).sigma
    assert sigma.max() > 1.2
    # Every input is read nine times: the squares sum to outputs x |filter|^2, whatever the spread.
    assert sigma.square().sum().item() == pytest.approx(36 * 6)


def test_pointwise_convolution_is_its_matrix_at_every_point():
    net = layer(4, 3, 1, 2)
    sigma = torch.linalg.svdvals(net.weight.data[:, :, 0, 0]).repeat_interleave(25)
    torch.testing.assert_close(spectrum(net, (5, 5)).sigma, sigma, **CLOSE)


def test_transposed_convolution_has_the_spectrum_of_its_adjoint():
    net = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1, bias=False).double()
    with torch.no_grad():
        matrix = matrix_of(lambda x: net(x[None])[0], (3, 3, 3))
    got = convolution_spectrum(net.weight, (6, 6), stride=2, padding=1)
    torch.testing.assert_close(got.sigma, torch.linalg.svdvals(matrix), **CLOSE)


def test_whole_frequencies_of_a_shift_are_ones():
    for at in itertools.product(range(3), range(3)):
        weight = torch.zeros(1, 1, 3, 3)
        weight[0, 0, at[0], at[1]] = 1
        got = convolution_spectrum(weight, (5, 5), padding=1, padding_mode="circular")
        torch.testing.assert_close(got.sigma, torch.ones(25).double())


def test_sizes_that_do_not_go_together():
    weight = torch.randn(2, 2, 3, 3)
    with pytest.raises(IsopruneError, match=r"in_size is \(5,\) for a weight.*pass the 2 spatial"):
        convolution_spectrum(weight, (5,))
    with pytest.raises(IsopruneError, match="more than the input's"):
        convolution_spectrum(weight, (2, 2))


def test_large_reflected_padding_is_refused(monkeypatch):
    monkeypatch.setattr(convolution, "_EXPLICIT_WORK", 0)
    with pytest.raises(IsopruneError, match=r"too large to take apart.*smaller in_size"):
        convolution_spectrum(torch.randn(2, 2, 3, 3), (5, 5), padding=1, padding_mode="reflect")
