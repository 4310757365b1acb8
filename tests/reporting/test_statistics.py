"""Statistics over seeds against closed forms, NumPy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isoprune.comparison.statistics import paired_difference, summarize
from isoprune.reporting.statistics import pool_histograms

SAMPLES = [[0.1, 0.4], [0.82, 0.81, 0.84], [1e-9, 2e-9, 5e-9, 1e-8], list(np.linspace(-3, 5, 17) ** 3)]


@pytest.mark.parametrize("x", SAMPLES)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_interval_is_scipys(x, confidence):
    told = summarize(x, confidence=confidence)
    want = stats.t.interval(confidence, len(x) - 1, loc=np.mean(x), scale=stats.sem(x))
    np.testing.assert_allclose(told.interval, want, rtol=1e-12)
    np.testing.assert_allclose((told.mean, told.std), (np.mean(x), np.std(x, ddof=1)), rtol=1e-12)
    assert (told.n, told.low, told.high) == (len(x), min(x), max(x))


def test_interval_of_two_seeds_in_closed_form():
    # With one degree of freedom Student's t is Cauchy: the quantile is tan(pi (p - 1/2)).
    told = summarize([1.0, 3.0])
    assert told.half == pytest.approx(math.tan(math.pi * 0.475) * math.sqrt(2) / math.sqrt(2), rel=1e-12)


def test_summary_shifts_and_scales_with_its_values():
    x = np.array(SAMPLES[1])
    plain, moved = summarize(x), summarize(100 * x - 7)
    assert moved.mean == pytest.approx(100 * plain.mean - 7)
    assert (moved.std, moved.half) == pytest.approx((100 * plain.std, 100 * plain.half))


def test_one_seed_has_no_spread_and_none_has_nothing():
    one, none = summarize([0.8]), summarize([])
    assert (one.n, one.mean) == (1, 0.8)
    assert math.isnan(one.std)
    assert math.isnan(one.half)
    assert not one.excludes_zero
    assert none.n == 0
    assert math.isnan(none.mean)


def test_values_that_are_not_finite_are_not_counted():
    assert summarize([1.0, math.nan, 3.0, math.inf]) == summarize([1.0, 3.0])


def test_equal_seeds_have_no_interval_and_show_nothing():
    told = summarize([0.25, 0.25, 0.25])
    assert told.std == 0.0
    assert math.isnan(told.half)
    assert not told.excludes_zero
    assert not summarize([0.0, 0.0]).excludes_zero


def test_paired_difference_is_the_paired_t_test():
    a, b = {0: 0.82, 1: 0.84, 2: 0.81, 5: 0.5}, {2: 0.78, 1: 0.80, 0: 0.79, 9: 0.1}
    told = paired_difference(a, b)
    test = stats.ttest_rel([0.82, 0.84, 0.81], [0.79, 0.80, 0.78])
    want = test.confidence_interval(0.95)
    np.testing.assert_allclose(told.interval, (want.low, want.high), rtol=1e-10)
    assert told.n == 3
    assert told.excludes_zero == (test.pvalue < 0.05)


def test_paired_difference_is_free_of_the_luck_of_the_seed():
    luck = {seed: 10.0 * seed for seed in range(4)}
    a = {seed: luck[seed] + 1.0 for seed in luck}
    told = paired_difference(a, luck)
    assert (told.mean, told.std) == (1.0, 0.0)
    assert paired_difference(luck, a).mean == -told.mean


def test_paired_difference_without_a_common_seed_is_empty():
    assert paired_difference({0: 1.0}, {1: 1.0}).n == 0


def test_pooled_histogram_on_equal_edges_is_the_histogram_of_all_values():
    rng = np.random.default_rng(0)
    x, y, edges = rng.standard_normal(50), rng.standard_normal(30) + 1, np.linspace(-6, 6, 13)
    parts = [(edges.tolist(), np.histogram(part, edges)[0].tolist()) for part in (x, y)]
    got_edges, shares = pool_histograms(parts)
    want = np.histogram(np.concatenate([x, y]), edges)[0] / 80
    np.testing.assert_allclose(shares, want, rtol=1e-12)
    np.testing.assert_array_equal(got_edges, edges)


def test_pooled_histogram_on_other_edges_keeps_all_mass_and_the_even_density():
    # Two even histograms on [0, 2] and [0, 4]: the density is 1/2 (1/2 + 1/4), then 1/2 * 1/4.
    edges, shares = pool_histograms([([0.0, 1.0, 2.0], [5, 5]), ([0.0, 4.0], [10])])
    assert edges == [0.0, 2.0, 4.0]
    np.testing.assert_allclose(shares, [0.75, 0.25])


def test_pooled_histogram_of_nothing_is_nothing():
    assert pool_histograms([]) == ([], [])
    assert pool_histograms([([0.0, 1.0], [0])]) == ([], [])
