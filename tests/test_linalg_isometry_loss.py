"""The distance to isometry: its gradient, its zeros, and the descent under a mask."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import haar_matrix, isometry_loss, masked_isometry, polar_factor
from isoprune.types import IsopruneError

SHAPES = [(1, 1), (4, 9), (9, 4), (16, 16), (1, 7), (7, 1)]


def matrix(shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bernoulli(shape, keep, seed=5):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < keep).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_is_that_of_the_singular_values(shape):
    W = matrix(shape)
    want = (torch.linalg.svdvals(W).square() - 1).square().sum()
    torch.testing.assert_close(isometry_loss(W), want)
    Q = haar_matrix(*shape, generator=torch.Generator().manual_seed(0))
    assert isometry_loss(Q) < 1e-24


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_gradient_of_the_masked_loss_against_finite_differences(shape):
    W, mask = matrix(shape).requires_grad_(), bernoulli(shape, 0.6)
    assert torch.autograd.gradcheck(lambda V: isometry_loss(V * mask), (W,))
    isometry_loss(W * mask).backward()
    assert (W.grad[mask == 0] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-10, 1, 1e10])
def test_without_a_mask_it_ends_at_an_isometry_near_the_polar_factor(shape, scale):
    W = scale * matrix(shape)
    before = W.clone()
    V = masked_isometry(W, None, steps=200)
    assert isometry_loss(V) < 1e-15
    assert torch.nn.functional.cosine_similarity(V.flatten(), polar_factor(W).flatten(), dim=0) > 0.97
    assert torch.equal(W, before)


def test_float32_reaches_rounding():
    assert isometry_loss(masked_isometry(matrix((64, 200)).float(), None, steps=200)) < 64 * 1e-9


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16)])
def test_mask_is_kept_and_the_descent_ends_at_a_minimum(shape):
    W, mask = matrix(shape), bernoulli(shape, 0.4)
    V = masked_isometry(W, mask, steps=500)
    assert (V[mask == 0] == 0).all()
    start = (W * mask) / torch.linalg.matrix_norm(W * mask, 2)
    assert isometry_loss(V) < 0.1 * isometry_loss(start)
    leaf = V.clone().requires_grad_()
    isometry_loss(leaf * mask).backward()
    assert leaf.grad.abs().max() < 1e-5


def test_more_steps_are_not_worse():
    W, mask = matrix((12, 20)), bernoulli((12, 20), 0.5)
    losses = [isometry_loss(masked_isometry(W, mask, steps=steps)).item() for steps in (1, 5, 20, 100)]
    assert losses == sorted(losses, reverse=True)


def test_rank_that_the_mask_takes_is_missed_and_dead_rows_stay():
    W, mask = matrix((3, 5)), torch.ones(3, 5).double()
    mask[0] = 0
    V = masked_isometry(W, mask, steps=200)
    assert (V[0] == 0).all()
    assert isometry_loss(V).item() == pytest.approx(1)  # the dead row's own one
    assert torch.equal(masked_isometry(torch.zeros(2, 3), None, steps=9), torch.zeros(2, 3))


def test_follows_the_order_of_filters():
    W, order = matrix((6, 9)), torch.randperm(6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        masked_isometry(W[order], None, steps=100), masked_isometry(W, None, steps=100)[order]
    )


def test_nan_is_refused():
    with pytest.raises(IsopruneError, match="holds NaN"):
        masked_isometry(torch.full((2, 2), float("nan")), None, steps=1)
