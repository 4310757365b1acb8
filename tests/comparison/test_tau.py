"""Kendall's tau within cells against SciPy, pairs counted one by one, and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from isoprune.comparison.statistics import kendall_tau
from isoprune.comparison.tau import tau_within


def drawn(rows: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two related lists and a third, with ties."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 6, rows).astype(float)
    return z + rng.integers(0, 5, rows), z + rng.integers(0, 5, rows), z


def sign_pairs(values, cells):
    """The sign of every pair of one cell, one by one."""
    both = itertools.combinations(range(len(values)), 2)
    return np.array([float(np.sign(values[i] - values[j])) for i, j in both if cells[i] == cells[j]])


def test_in_one_cell_it_is_that_of_scipy():
    x, y, _ = drawn()
    found = tau_within(x, y, draws=10)
    assert found.value == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found.value == pytest.approx(kendall_tau(x, y), abs=1e-12)
    assert found.networks == 30


def test_only_pairs_of_a_cell_are_compared():
    x, y, _ = drawn()
    cells = ["a", "b", "c"] * 10
    a, b = sign_pairs(x, cells), sign_pairs(y, cells)
    found = tau_within(x, y, cells=cells, draws=10)
    assert found.value == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)), abs=1e-12)
    assert found.pairs == np.count_nonzero(a * b)


def test_partial_tau_is_kendalls_formula_for_one_and_least_squares_of_signs_for_more():
    x, y, z = drawn()
    xy, xz, yz = (kendall_tau(*two) for two in ((x, y), (x, z), (y, z)))
    want = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert tau_within(x, y, beyond=[z], draws=10).value == pytest.approx(want, abs=1e-12)
    w = np.random.default_rng(5).normal(size=30)
    cells = [0, 1] * 15
    a, b, *known = (sign_pairs(v, cells) for v in (x, y, z, w))
    known = np.stack(known, 1)
    left = [v - known @ np.linalg.lstsq(known, v, rcond=None)[0] for v in (a, b)]
    want = left[0] @ left[1] / math.sqrt((left[0] @ left[0]) * (left[1] @ left[1]))
    assert tau_within(x, y, cells=cells, beyond=[z, w], draws=10).value == pytest.approx(want, abs=1e-12)


def test_of_a_monotone_measure_it_is_one_whatever_its_scale():
    y = np.arange(12.0)
    assert tau_within(np.exp(y), y, draws=10).value == 1
    assert tau_within(-(y**3), y, draws=10).value == -1
    assert tau_within([*y[:-1], math.inf], y, draws=10).value == 1


@pytest.mark.parametrize("x", [[0.3] * 8, [math.nan] * 8])
def test_of_a_constant_it_is_undefined(x):
    found = tau_within(x, np.arange(8.0), draws=10)
    assert all(math.isnan(n) for n in (found.value, found.low, found.high, found.p))
    assert found.pairs == 0


def test_what_is_known_already_adds_nothing():
    x, y, z = drawn()
    assert math.isnan(tau_within(x, y, beyond=[z, np.exp(x)], draws=10).value)
    # What tells no pair apart explains nothing.
    plain = tau_within(x, y, draws=10).value
    assert tau_within(x, y, beyond=[np.ones(30)], draws=10).value == pytest.approx(plain, abs=1e-12)


def test_rows_without_the_number_are_left_out():
    x, y, _ = drawn()
    holed = np.where(np.arange(30) % 3 == 0, math.nan, x)
    kept = np.arange(30) % 3 != 0
    found = tau_within(holed, y, draws=50)
    assert found == tau_within(x[kept], y[kept], draws=50)


def test_the_bootstrap_draws_networks_and_not_rows():
    """Each network written down five times makes nothing surer."""
    x, y, _ = drawn()
    names = [f"n{i}" for i in range(30)]
    once = tau_within(x, y, networks=names)
    often = tau_within(np.tile(x, 5), np.tile(y, 5), networks=names * 5)
    assert often.networks == 30
    for part in ("value", "low", "high", "p"):
        assert getattr(often, part) == pytest.approx(getattr(once, part), rel=1e-9)
    assert tau_within(np.tile(x, 5), np.tile(y, 5)).high < once.high


def test_the_interval_holds_the_true_tau_about_as_often_as_it_says():
    # Of a normal distribution with correlation r tau is 2 arcsin(r) / pi.
    rng = np.random.default_rng(2)
    r, held = 0.6, 0
    for _ in range(200):
        x, e = rng.normal(size=(2, 60))
        found = tau_within(x, r * x + math.sqrt(1 - r * r) * e, draws=200)
        held += found.low <= 2 * math.asin(r) / math.pi <= found.high
    # 19 of 20 within three standard deviations of a binomial count.
    assert abs(held - 190) <= 3 * math.sqrt(200 * 0.95 * 0.05)


def test_unrelated_numbers_are_called_related_about_as_rarely_as_p_says():
    rng = np.random.default_rng(3)
    wrong = sum(tau_within(*rng.normal(size=(2, 60)), draws=200).p < 0.05 for _ in range(200))
    assert wrong <= 10 + 3 * math.sqrt(200 * 0.05 * 0.95)
