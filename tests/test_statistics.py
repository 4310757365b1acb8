"""p-values and their correction against SciPy and slow definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from isoprune.comparison.statistics import holm, kendall_tau, p_value, paired_difference, summarize

P = st.floats(0, 1)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_p_value_is_that_of_the_paired_t_test(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.8, 0.02, n), rng.normal(0.79, 0.02, n)
    told = p_value(paired_difference(dict(enumerate(a)), dict(enumerate(b))))
    assert told == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)


def test_p_value_of_two_pairs_in_closed_form():
    # One degree of freedom is Cauchy: P(|T| >= t) = 1 - 2 arctan(t) / pi. Here t = 2 / 1 of [1, 3].
    assert p_value(summarize([1.0, 3.0])) == pytest.approx(1 - 2 * math.atan(2.0) / math.pi, rel=1e-12)


def test_p_value_is_below_alpha_exactly_where_the_interval_excludes_zero():
    rng = np.random.default_rng(0)
    for _ in range(200):
        told = summarize(rng.normal(0.5, 0.7, 4))
        assert (p_value(told) < 0.05) == told.excludes_zero


@pytest.mark.parametrize(
    "values", [[], [0.1], [0.25, 0.25, 0.25], [0.0, 0.0], [0.82 - 0.80, 0.84 - 0.82, 0.86 - 0.84]]
)
def test_where_nothing_spreads_there_is_nothing_to_test(values):
    told = summarize(values)
    assert math.isnan(p_value(told))
    assert math.isnan(told.half)
    assert not told.excludes_zero


def slow_holm(p: list[float]) -> list[float]:
    """Step down as Holm did, for each hypothesis: the smallest alpha at which it is rejected."""

    def rejected(alpha: float) -> set[int]:
        out: set[int] = set()
        while len(out) < len(p):
            left = [i for i in range(len(p)) if i not in out]
            least = min(left, key=lambda i: p[i])
            if p[least] * len(left) > alpha:
                return out
            out.add(least)
        return out

    levels = sorted({1.0} | {min(1.0, k * q) for k, q in itertools.product(range(1, len(p) + 1), p)})
    return [min((a for a in levels if i in rejected(a)), default=1.0) for i in range(len(p))]


@given(st.lists(P, max_size=6))
def test_holm_is_the_smallest_level_at_which_stepping_down_rejects(p):
    assert holm(p) == slow_holm(p)


@given(st.lists(P, min_size=1, max_size=8), st.randoms())
def test_holm_follows_the_order_and_never_lowers(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    plain = holm(p)
    assert holm([p[i] for i in order]) == [plain[i] for i in order]
    assert all(q <= c <= min(1.0, len(p) * q) for q, c in zip(p, plain, strict=True))


def test_holm_counts_tests_only():
    got = holm([0.01, math.nan, 0.04])
    assert got[0] == 0.02
    assert math.isnan(got[1])
    assert got[2] == 0.04
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(4))
def test_kendall_s_tau_is_scipy_s(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, 12), rng.normal(size=12)  # with ties
    assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, rel=1e-12)


def test_kendall_s_tau_of_infinite_values_and_of_none_apart():
    assert kendall_tau([-math.inf, -math.inf, 1.0], [0.1, 0.2, 0.3]) == pytest.approx(2 / math.sqrt(2 * 3))
    assert math.isnan(kendall_tau([1.0, 1.0], [0.0, 1.0]))
