"""Least squares behind a ReLU against its own definition."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg.rectified import rectified_fit
from isoprune.linalg.ridge import Moments, ridge


def problem(seed=0, rows=200, inputs=4, outputs=3, hidden=7):
    """Return rows of x, of y (which are more than linear in x), scale and shift."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    X = draw(rows, inputs) + 0.5
    Y = (X @ draw(inputs, hidden)).relu() @ draw(hidden, outputs)
    return X, Y, 0.5 + draw(outputs).abs(), 0.3 * draw(outputs)


def fitted(X, Y, scale, shift, rounds, intercept=True, parts=3):
    data = list(zip(X.chunk(parts), Y.chunk(parts), strict=True))
    moments = [Moments.of(*part) for part in data]
    total = moments[0] + moments[1] + moments[2] if parts == 3 else moments[0]
    W0 = torch.zeros(Y.shape[1], X.shape[1], dtype=torch.float64)
    fit = ridge([total], W0, intercept=intercept, strengths=[1e-9])
    how = {"scale": scale, "shift": shift, "intercept": intercept, "rounds": rounds}
    return fit if rounds is None else rectified_fit(data, total, W0, fit, **how)


def error(fit, X, Y, scale, shift):
    z, wanted = scale * (X @ fit.W.mT + fit.b) + shift, scale * Y + shift
    return float(torch.where(wanted > 0, z - wanted, z.clamp_min(0)).square().sum())


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_no_round_raises_the_error_and_the_first_lowers_it(seed, intercept):
    given = problem(seed)
    errors = [error(fitted(*given, rounds, intercept), *given) for rounds in (0, 1, 2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.999 * errors[0]


def test_it_ends_where_the_slope_is_zero():
    X, Y, scale, shift = given = problem(1)
    fit = fitted(*given, 400)
    W, b = fit.W.clone().requires_grad_(), fit.b.clone().requires_grad_()
    z, wanted = scale * (X @ W.mT + b) + shift, scale * Y + shift
    loss = torch.where(wanted > 0, z - wanted, z.clamp_min(0)).square().sum()
    for slope in torch.autograd.grad(loss, (W, b)):
        assert slope.abs().max() < 1e-3 * loss


def test_where_all_is_positive_it_is_plain_least_squares():
    X, Y, scale, _ = problem(2)
    shift = torch.full_like(scale, 1000.0)
    torch.testing.assert_close(fitted(X, Y, scale, shift, 5).W, fitted(X, Y, scale, shift, None).W)


def test_an_output_that_is_never_wanted_is_silenced():
    X, Y, scale, _ = problem(3)
    shift = torch.full_like(scale, -1000.0)
    fit = fitted(X, Y, scale, shift, 3)
    assert ((scale * (X @ fit.W.mT + fit.b) + shift) <= 1e-9).all()


def test_a_negative_scale_turns_the_side_that_counts():
    X, Y, scale, shift = problem(4)
    plain, turned = fitted(X, Y, scale, shift, 6), fitted(X, -Y, -scale, shift, 6)
    torch.testing.assert_close(turned.W, -plain.W)


def test_an_output_that_the_norm_forgets_stays_as_it_is_and_constant_inputs_change_nothing():
    X, Y, scale, shift = problem(5)
    scale[1] = 0
    fit, plain = fitted(X, Y, scale, shift, 6), fitted(X, Y, scale, shift, None)
    torch.testing.assert_close(fit.W[1], plain.W[1])
    torch.testing.assert_close(fitted(0 * X, Y, scale, shift, 4).W, fitted(0 * X, Y, scale, shift, None).W)


def test_mean_and_variance_are_those_of_the_new_outputs():
    X, Y, scale, shift = problem(6)
    fit = fitted(X, Y, scale, shift, 4)
    made = X @ fit.W.mT
    torch.testing.assert_close(fit.mean, made.mean(0))
    torch.testing.assert_close(fit.variance, made.var(0, correction=0))


def test_sums_of_dependent_inputs_that_float32_made_indefinite_are_taken_again():
    X, Y, scale, shift = problem(6)
    spread = torch.randn(4, 90, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    X = 30 * (X @ spread).float().double()  # rank 4 of 90
    data = [(X.float(), Y.float())]
    moments = Moments.of(*data[0])
    A, _, _ = moments.centred(True)
    W0 = torch.zeros(Y.shape[1], 90, dtype=torch.float64)
    fit = ridge([moments], W0, intercept=True, strengths=[1e-9])
    assert torch.linalg.cholesky_ex(A + 1e-9 * A.diagonal().mean() * torch.eye(90)).info
    how = {"scale": scale, "shift": shift, "intercept": True}
    errors = [
        error(rectified_fit(data, moments, W0, fit, **how, rounds=rounds), X, Y, scale, shift)
        for rounds in (1, 2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
