"""Orthonormal factors: isometries, symmetries, dead rows."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import filter_matrix, polar_factor, qr_factor
from isoprune.types import IsopruneError
from reference import gram_schmidt

SHAPES = [(1, 1), (4, 9), (9, 4), (16, 16), (1, 7), (7, 1)]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def matrix(shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ones(shape):
    return torch.ones(min(shape), dtype=torch.float64)


def test_filter_matrix_has_one_filter_a_row():
    weight = matrix((3, 2, 5, 5))
    W = filter_matrix(weight)
    assert W.shape == (3, 50)
    assert torch.equal(W[1], weight[1].flatten())
    assert W.data_ptr() == weight.data_ptr()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [qr_factor, polar_factor])
def test_factors_are_isometries_and_leave_the_matrix(factor, shape):
    W = matrix(shape)
    before = W.clone()
    torch.testing.assert_close(torch.linalg.svdvals(factor(W)), ones(shape), **CLOSE)
    assert torch.equal(W, before)


def test_qr_factor_is_gram_schmidt():
    # The sign fix makes the pivots positive, which is what Gram-Schmidt has by construction.
    W = matrix((5, 8))
    torch.testing.assert_close(qr_factor(W), gram_schmidt(W), **CLOSE)


@pytest.mark.parametrize("shape", [(4, 9), (16, 16)])
def test_qr_factor_leaves_orthonormal_rows_as_they_are(shape):
    Q = qr_factor(matrix(shape))
    torch.testing.assert_close(qr_factor(Q), Q, **CLOSE)
    scales = torch.rand(shape[0], 1, generator=torch.Generator().manual_seed(1)).double() + 0.1
    torch.testing.assert_close(qr_factor(scales * Q), Q, **CLOSE)


@pytest.mark.parametrize("factor", [qr_factor, polar_factor])
@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 16)])
def test_factors_follow_rotations_of_their_other_side(factor, shape):
    # Wide: inputs rotated. Tall: the same holds for polar; QR of a tall matrix follows rotations of its rows.
    W = matrix(shape)
    if factor is qr_factor and shape[0] > shape[1]:
        turn = qr_factor(matrix((shape[0], shape[0]), seed=2))
        torch.testing.assert_close(factor(turn @ W), turn @ factor(W), **CLOSE)
    else:
        turn = qr_factor(matrix((shape[1], shape[1]), seed=2))
        torch.testing.assert_close(factor(W @ turn), factor(W) @ turn, **CLOSE)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 16)])
def test_polar_factor_commutes_with_filter_order(shape):
    W = matrix(shape)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(polar_factor(W[order]), polar_factor(W)[order], **CLOSE)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 16)])
def test_polar_factor_is_the_nearest_isometry(shape):
    W = matrix(shape)
    nearest = (W - polar_factor(W)).norm()
    for seed in range(20):
        assert nearest <= (W - qr_factor(matrix(shape, seed))).norm()
    assert nearest <= (W - qr_factor(W)).norm()


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 16), (1, 7), (7, 1)])
@pytest.mark.parametrize("dead", [[0], [-1], [0, -1], "all"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_qr_factor_revives_dead_filters(shape, dead, dtype):
    W = matrix(shape).to(dtype)
    W[list(range(shape[0])) if dead == "all" else dead] = 0
    Q = qr_factor(W)
    assert torch.isfinite(Q).all()
    assert (Q.norm(dim=1) > 1e-3).all(), "a filter without weights"
    torch.testing.assert_close(torch.linalg.svdvals(Q), ones(shape).to(dtype))


def test_negative_zero_is_as_dead_as_zero():
    W = torch.zeros(3, 3)
    W[1] = -0.0
    assert (qr_factor(W).norm(dim=1) > 0.5).all()


def test_polar_factor_keeps_a_dead_filter_dead():
    W = matrix((4, 9))
    W[2] = 0
    P = polar_factor(W)
    assert P[2].abs().max() < 1e-12
    torch.testing.assert_close(torch.linalg.svdvals(P), torch.tensor([1, 1, 1, 0]).double(), **CLOSE)
    assert torch.equal(polar_factor(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("factor", [qr_factor, polar_factor])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_in_kind(factor, dtype):
    W = matrix((4, 9)).to(dtype)
    got = factor(W)
    assert got.dtype == dtype
    assert torch.equal(got, factor(W.float()).to(dtype))


@pytest.mark.parametrize("factor", [qr_factor, polar_factor])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(factor, bad):
    W = matrix((2, 3))
    W[1, 1] = bad
    with pytest.raises(IsopruneError, match=r"shape \(2, 3\) holds NaN or infinity. Training diverged"):
        factor(W)
