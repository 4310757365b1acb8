"""LASSO: KKT conditions, closed forms, how many coefficients are left, degenerate problems."""

from __future__ import annotations

import numpy as np
import pytest

from isoprune.linalg.lasso import lasso, path, sparsest, violation


def problem(n, rows, seed=0):
    draw = np.random.default_rng(seed)
    X = draw.standard_normal((rows, n)) @ (np.eye(n) + 0.5 * draw.standard_normal((n, n)))
    return X.T @ X / rows, X.T @ (X @ draw.standard_normal(n) + draw.standard_normal(rows)) / rows


@pytest.mark.parametrize(("n", "rows"), [(1, 5), (6, 30), (25, 60), (20, 8)])  # the last one is singular
@pytest.mark.parametrize("part", [0.9, 0.3, 0.02])
def test_the_kkt_conditions_hold(n, rows, part):
    M, b = problem(n, rows)
    strength = part * np.abs(b).max()
    beta = lasso(M, b, strength)
    g = b - M @ beta
    zero = beta == 0
    edge = 1e-8 * np.abs(b).max()
    assert (np.abs(g[zero]) <= strength + edge).all()
    np.testing.assert_allclose(g[~zero], strength * np.sign(beta[~zero]), atol=edge)
    assert violation(g, beta, strength) <= edge
    assert violation(g, beta, 2 * strength) > edge


def test_of_orthogonal_inputs_it_is_the_soft_threshold_and_at_no_strength_least_squares():
    b = np.array([3.0, -2, 0.5, -0.1])
    M = np.diag([1.0, 2, 4, 0.5])
    np.testing.assert_allclose(lasso(M, b, 0.4), [2.6, -0.8, 0.025, 0])
    M, b = problem(6, 30)
    np.testing.assert_allclose(lasso(M, b, 0.0), np.linalg.solve(M, b), rtol=1e-6)
    assert not lasso(M, b, np.abs(b).max()).any()


def test_a_path_begins_with_nothing_and_each_of_its_points_is_a_minimum():
    M, b = problem(12, 40)
    points = list(path(M, b))
    assert not points[0][1].any()
    assert np.count_nonzero(points[-1][1]) == 12
    for strength, beta in points[::20]:
        np.testing.assert_allclose(beta, lasso(M, b, strength), atol=1e-6)


@pytest.mark.parametrize("number", [1, 3, 7, 12, 30])
def test_the_strength_is_the_least_that_leaves_no_more_than_so_many(number):
    M, b = problem(12, 40)
    strength, beta = sparsest(M, b, number)
    assert np.count_nonzero(beta) == min(number, 12)
    assert violation(b - M @ beta, beta, strength) <= 1e-8 * np.abs(b).max()


def test_inputs_that_are_zero_or_equal():
    M, b = problem(4, 20)
    M[2], M[:, 2], b[2] = 0, 0, 0
    assert lasso(M, b, 0.01)[2] == 0
    twin = np.array([[1.0, 1], [1, 1]])
    beta = lasso(twin, np.array([2.0, 2]), 0.5)
    assert beta.sum() == pytest.approx(1.5)
    assert not sparsest(np.zeros((2, 2)), np.zeros(2), 1)[1].any()
