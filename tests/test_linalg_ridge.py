"""Least squares near to given weights: optimality, limits, masks, and the choice of the strength."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import ridge as module
from isoprune.linalg.ridge import STRENGTHS, Moments, ridge

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(n=50, inputs=6, outputs=4):
    X = draw(n, inputs) @ draw(inputs, inputs, seed=1) + draw(inputs, seed=2)
    return X, X @ draw(inputs, outputs, seed=3) + draw(n, outputs, seed=4), draw(outputs, inputs, seed=5)


def objective(W, b, X, Y, W0, strength, intercept):
    centred = X - X.mean(0) if intercept else X
    a = centred.square().sum(1).mean() / X.shape[1]  # trace of the covariance over its size
    return (Y - X @ W.mT - b).square().sum(1).mean() + strength * a * (W - W0).square().sum()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("strength", [1e-6, 1e-2, 1.0, 10.0])
def test_the_gradient_of_what_is_minimised_is_zero(intercept, strength):
    X, Y, W0 = problem()
    fit = ridge([Moments.of(X, Y)], W0, intercept=intercept, strengths=[strength])
    W, b = fit.W.clone().requires_grad_(), fit.b.clone().requires_grad_()
    gradients = torch.autograd.grad(objective(W, b, X, Y, W0, strength, intercept), (W, b))
    assert gradients[0].abs().max() < 1e-9
    if intercept:
        assert gradients[1].abs().max() < 1e-9
    else:
        assert not fit.b.any()


def test_moments_add_up_and_give_the_error_mean_and_variance():
    X, Y, W = problem()
    b = draw(4, seed=6)
    m = Moments.of(X[:20], Y[:20]) + Moments.of(X[20:], Y[20:])
    assert m.error(W, b) == pytest.approx(float((Y - X @ W.mT - b).square().sum()), rel=1e-10)
    mean, variance = m.of_output(W)
    torch.testing.assert_close(mean, (X @ W.mT).mean(0), **CLOSE)
    torch.testing.assert_close(variance, (X @ W.mT).var(0, correction=0), **CLOSE)


def test_where_data_say_nothing_the_given_weights_stay():
    X, Y, W0 = problem()
    X[:, 2] = 0
    X[:, 5] = X[:, 4]  # one direction of the two is never seen
    fit = ridge([Moments.of(X, Y)], W0, strengths=[1e-6])
    never = torch.tensor([0, 0, 0, 0, 1.0, -1.0], dtype=torch.float64)
    # Eigenvalues that are zero but for rounding count as much as 1e-16 over 1e-6.
    torch.testing.assert_close(fit.W[:, 2], W0[:, 2], rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(fit.W @ never, W0 @ never, rtol=1e-7, atol=1e-8)
    nothing = ridge([Moments.of(torch.zeros_like(X), Y)], W0)
    torch.testing.assert_close(nothing.W, W0)
    torch.testing.assert_close(nothing.b, Y.mean(0))


def test_a_fit_that_is_right_already_stays():
    X, _, W0 = problem()
    fit = ridge([Moments.of(X[k::4], X[k::4] @ W0.mT + 3) for k in range(4)], W0)
    torch.testing.assert_close(fit.W, W0, **CLOSE)
    torch.testing.assert_close(fit.b, torch.full((4,), 3.0, dtype=torch.float64), **CLOSE)


@pytest.mark.parametrize("strength", [1e-6, 0.1])
def test_a_mask_solves_every_row_in_its_own_columns(strength):
    X, Y, W0 = problem()
    mask = (draw(4, 6, seed=7) > 0).double()
    mask[1] = 0
    fit = ridge([Moments.of(X, Y)], W0, strengths=[strength], mask=mask)
    assert not fit.W[mask == 0].any()
    centred, goal = X - X.mean(0), Y - Y.mean(0)
    a = centred.square().sum(1).mean() / 6
    for row in (0, 2, 3):
        S = mask[row].nonzero().flatten()
        A = centred[:, S].mT @ centred[:, S] / len(X) + strength * a * torch.eye(len(S)).double()
        want = torch.linalg.solve(A, centred[:, S].mT @ goal[:, row] / len(X) + strength * a * W0[row, S])
        torch.testing.assert_close(fit.W[row, S], want, rtol=1e-6, atol=1e-8)


def test_the_strength_follows_the_data():
    """Much clean data: no pull. A handful of noisy ones around right weights: all of it."""
    X, _, W0 = problem(2000)
    clean = X @ draw(6, 4, seed=8)
    assert ridge([Moments.of(X[k::4], clean[k::4]) for k in range(4)], W0).strength == STRENGTHS[0]
    few = draw(8, 6, seed=9)
    noisy = few @ W0.mT + 5 * draw(8, 4, seed=10)
    assert ridge([Moments.of(few[k::4], noisy[k::4]) for k in range(4)], W0).strength == STRENGTHS[-1]


def test_giving_up_a_part_of_the_gain_shortens_the_step_and_costs_no_more_than_that():
    X, Y, W0 = problem(400)
    folds = [Moments.of(X[k::4], Y[k::4]) for k in range(4)]
    total = Moments.of(X, Y)
    constant = float(total.centred(True)[2].sum()) * total.n
    fits = [ridge(folds, W0, give=give) for give in (0.0, 0.1, 0.5, 1.0)]
    steps = [float((f.W - W0).norm()) for f in fits]
    assert steps == sorted(steps, reverse=True)
    assert steps[2] < 0.9 * steps[0]
    assert fits[-1].strength == STRENGTHS[-1]
    still = fits[-1].left
    for give, fit in zip((0.0, 0.1, 0.5), fits, strict=False):
        assert fit.left <= fits[0].left + give * (still - fits[0].left) + 1e-12
        # What is said to be left, held out, is about what is left of all.
        assert fit.left == pytest.approx(total.error(fit.W, fit.b) / constant, rel=0.2)


@pytest.mark.parametrize("give", [0.0, 0.1])
@pytest.mark.parametrize("noise", [0.1, 3.0, 100.0])
def test_many_inputs_are_solved_one_strength_after_the_other_and_judged_on_one_part(monkeypatch, noise, give):
    """By a plain loop: fitted without the first part, judged on it, the strongest that is good enough."""
    X, Y, W0 = problem()
    Y = Y + noise * draw(*Y.shape, seed=9)
    folds = [Moments.of(X[k::4], Y[k::4]) for k in range(4)]
    rest = [folds[1] + folds[2] + folds[3]]
    tried = [ridge(rest, W0, strengths=[strength]) for strength in STRENGTHS]
    errors = [folds[0].error(one.W, one.b) for one in tried]
    enough = min(errors) + give * (errors[-1] - min(errors))
    want = max(strength for strength, error in zip(STRENGTHS, errors, strict=True) if error <= enough)
    monkeypatch.setattr(module, "WIDE", 1)
    fit = ridge(folds, W0, give=give)
    assert fit.strength == want
    assert fit.left == pytest.approx(
        errors[STRENGTHS.index(want)] / float((Y - Y.mean(0)).square().sum() * len(X[::4]) / len(X))
    )
    whole = ridge([folds[0] + rest[0]], W0, strengths=[want])
    torch.testing.assert_close(fit.W, whole.W, **CLOSE)


def test_many_inputs_that_say_nothing_leave_the_weights(monkeypatch):
    monkeypatch.setattr(module, "WIDE", 1)
    W0, zeros = draw(4, 6), torch.zeros(20, 6, dtype=torch.float64)
    folds = [Moments.of(zeros, draw(20, 4, seed=k)) for k in range(4)]
    torch.testing.assert_close(ridge(folds, W0).W, W0, **CLOSE)
    # Twice the same input, in numbers too coarse for the weakest strengths.
    X = draw(40, 3).float().repeat(1, 2)
    fit = ridge([Moments.of(X[k::4], X[k::4, :4]) for k in range(4)], torch.zeros(4, 6, dtype=torch.float64))
    assert fit.left is not None
    assert fit.left < 1e-3
    assert bool(fit.W.isfinite().all())
