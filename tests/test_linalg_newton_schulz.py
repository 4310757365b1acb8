"""Newton-Schulz against the SVD: any shape, scale and rank, and what it cannot decide."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import haar_matrix, newton_schulz_factor, polar_factor
from isoprune.types import IsopruneError


def matrix(shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_spectrum(sigma, shape=(6, 9)):
    generator = torch.Generator().manual_seed(0)
    U = haar_matrix(shape[0], len(sigma), generator=generator)
    V = haar_matrix(shape[1], len(sigma), generator=generator)
    return (U * torch.tensor(sigma, dtype=torch.float64)) @ V.mT


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (9, 4), (16, 16), (1, 7), (64, 300)])
@pytest.mark.parametrize("scale", [1e-18, 1, 1e18])
def test_is_the_polar_factor(shape, dtype, close, scale):
    W = (scale * matrix(shape)).to(dtype)
    before = W.clone()
    torch.testing.assert_close(newton_schulz_factor(W), polar_factor(W), rtol=0, atol=close)
    assert torch.equal(W, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [[1, 1, 1], [5, 1, 0.2, 1e-2], [1, 1e-3, 1e-4], [1, 1e-10]])
def test_rank_is_kept_down_to_the_cutoff_of_the_svd(sigma, dtype):
    W = with_spectrum(sigma).to(dtype)
    # Singular vectors of a small sigma are known to eps / sigma only.
    close = 10 * torch.finfo(dtype).eps / min(s for s in sigma if s > 1e-6) + 1e-5
    torch.testing.assert_close(newton_schulz_factor(W), polar_factor(W), rtol=0, atol=close)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_dead_filters_stay_dead(shape):
    W = matrix(shape)
    W[[0, 2]] = 0
    factor = newton_schulz_factor(W)
    assert (factor[[0, 2]] == 0).all()
    torch.testing.assert_close(factor, polar_factor(W), rtol=0, atol=1e-10)
    assert torch.equal(newton_schulz_factor(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_a_singular_value_at_the_rank_cutoff_is_told():
    with pytest.raises(IsopruneError, match=r"not converged.*near 1e-06.*Take the SVD"):
        newton_schulz_factor(with_spectrum([1, 5.62e-7]))


def test_looser_tolerance_is_held():
    W = matrix((20, 50))
    X = newton_schulz_factor(W, tolerance=1e-3)
    assert torch.linalg.matrix_norm(X @ X.mT @ X - X) <= 1e-3 * torch.linalg.matrix_norm(X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_in_kind(dtype):
    W = matrix((4, 9)).to(dtype)
    assert torch.equal(newton_schulz_factor(W), newton_schulz_factor(W.float()).to(dtype))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(bad):
    W = matrix((2, 3))
    W[1, 1] = bad
    with pytest.raises(IsopruneError, match=r"shape \(2, 3\) holds NaN or infinity"):
        newton_schulz_factor(W)
