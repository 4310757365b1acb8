"""Orthogonal convolutions by their explicit matrix, and their distance to what they stand for."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from isoprune.linalg import haar_matrix, nearest_orthogonal_convolution, polar_factor
from isoprune.types import IsopruneError
from reference import matrix_of

SHAPES = [
    (4, 6, 3), (6, 4, 3), (5, 5, 2), (3, 4, 5),
    (3, 4, 3, 3), (4, 3, 3, 3), (4, 4, 3, 3), (3, 5, 2, 2), (2, 3, 4, 3), (3, 3, 5, 1), (3, 2, 1, 3),
    (2, 1, 3, 3), (1, 1, 3, 3), (3, 4, 1, 1), (2, 3, 2, 3, 2),
]  # fmt: skip


def drawn(shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def operator(kernel, n=5):
    """Return the matrix of the circular convolution on n points a dimension, column by column."""
    dims = kernel.ndim - 2
    pad = [p for k in reversed(kernel.shape[2:]) for p in (k - 1, 0)]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]

    def forward(x):
        return convolve(F.pad(x[None], pad, mode="circular"), kernel.double())[0]

    return matrix_of(forward, (kernel.shape[1], *[n] * dims))


def distance(K, W):
    """Return how far K is from W at K's norm, relative."""
    return ((K / K.norm() - W / W.norm()).norm()).item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_operator_is_semi_orthogonal(shape, dtype, close):
    M = operator(nearest_orthogonal_convolution(drawn(shape).to(dtype), steps=10), 5 if len(shape) < 5 else 3)
    gram = M @ M.mT if M.shape[0] <= M.shape[1] else M.mT @ M
    assert (gram - torch.eye(len(gram))).abs().max() < close


@pytest.mark.parametrize("shape", SHAPES)
def test_descent_comes_nearer_than_every_delta_orthogonal_kernel(shape):
    W = drawn(shape)
    start, few, many = (nearest_orthogonal_convolution(W, steps=steps) for steps in (0, 5, 50))
    # The best semi-orthogonal matrix on each tap alone.
    taps = list(itertools.product(*map(range, shape[2:])))
    deltas = []
    for at in taps:
        K = torch.zeros_like(W)
        K[(..., *at)] = polar_factor(W[(..., *at)])
        deltas.append(distance(K, W))
    assert distance(start, W) == pytest.approx(min(deltas))
    assert distance(few, W) <= distance(start, W) + 1e-12
    assert distance(many, W) <= distance(few, W) + 1e-12
    if len(taps) > 1 and max(shape[:2]) > 2:  # of two channels, a single tap may well be the nearest
        assert distance(many, W) < 0.95 * distance(start, W)
    random = torch.zeros_like(W)
    random[(..., *(k // 2 for k in shape[2:]))] = haar_matrix(
        *shape[:2], generator=torch.Generator().manual_seed(3)
    )
    assert distance(many, W) < distance(random, W)


@pytest.mark.parametrize("shape", [(4, 4, 3), (3, 5, 2), (3, 3, 3, 3)])
def test_no_small_step_within_its_component_is_better(shape):
    W = drawn(shape)
    K = nearest_orthogonal_convolution(W, steps=500)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        # Orthogonal changes of basis on either side keep the operator orthogonal.
        turns = [torch.randn(n, n, dtype=torch.float64, generator=generator) for n in shape[:2]]
        left, right = (torch.linalg.matrix_exp(1e-3 * (A - A.mT)) for A in turns)
        moved = torch.einsum("of,fc...,ci->oi...", left, K, right)
        assert distance(moved, W) >= distance(K, W) - 1e-9


def test_an_orthogonal_kernel_of_one_tap_is_its_own():
    K = torch.zeros(3, 4, 3, 3).double()
    K[:, :, 1, 2] = haar_matrix(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nearest_orthogonal_convolution(7 * K), K)


def test_scale_does_not_matter_and_transposing_commutes():
    W = drawn((3, 5, 3, 3))
    K = nearest_orthogonal_convolution(W)
    torch.testing.assert_close(nearest_orthogonal_convolution(1e12 * W), K, rtol=1e-5, atol=1e-5)
    adjoint = nearest_orthogonal_convolution(W.transpose(0, 1).flip(2, 3))
    torch.testing.assert_close(adjoint, K.transpose(0, 1).flip(2, 3))


def test_single_channel_keeps_the_largest_weight_as_a_shift():
    W = drawn((1, 1, 3, 3))
    W[0, 0, 2, 0] = -9
    want = torch.zeros(1, 1, 3, 3).double()
    want[0, 0, 2, 0] = -1
    assert torch.equal(nearest_orthogonal_convolution(W), want)


def test_matrix_is_its_polar_factor():
    W = drawn((4, 7))
    torch.testing.assert_close(nearest_orthogonal_convolution(W), polar_factor(W))


@pytest.mark.parametrize("shape", [(4, 6, 3), (6, 4, 3, 3), (4, 4, 3, 3)])
@pytest.mark.parametrize("dead", [[0], [0, 2], "all"])
def test_dead_filters_come_back_alive(shape, dead):
    W = drawn(shape)
    W[list(range(shape[0])) if dead == "all" else dead] = 0
    sigma = torch.linalg.svdvals(operator(nearest_orthogonal_convolution(W, steps=10)))
    torch.testing.assert_close(sigma, torch.ones_like(sigma))


def test_nan_is_refused():
    with pytest.raises(IsopruneError, match="holds NaN"):
        nearest_orthogonal_convolution(torch.full((2, 2, 3), float("nan")))
