"""A planted truth is found, with the planted error, on groups that were left out; costs bound the choice."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from forecast.made import MEASURE_OF, NOISE, SLOPE, rows
from isoprune.forecast.columns import MeasureCosts, columns, columns_of
from isoprune.forecast.fitted import Fitted, unsquashed, write_fitted
from isoprune.forecast.fitted import squashed as squash_points
from isoprune.forecast.fitting import PERCENTS, FitOptions, affordable, fit, fit_ridge, quantile
from isoprune.types import IsopruneError

PLAN = FitOptions(MEASURE_OF)
MEAN_ABSOLUTE = math.sqrt(2 / math.pi)  # of a standard normal distribution


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(rows().drop("m.twin"), PLAN)


@pytest.fixture(scope="module")
def later() -> pl.DataFrame:
    return rows(400, seed=7)


def told(fitted: Fitted, frame: pl.DataFrame):
    return columns_of(frame, [feature.key for feature in fitted.features])


def test_a_planted_line_is_found_with_the_planted_error(fitted, later):
    off = np.abs(fitted.points(told(fitted, later)) - later["points"].to_numpy())
    assert off.mean() == pytest.approx(MEAN_ABSOLUTE * NOISE, rel=0.1)
    (useful,) = [f for f in fitted.features if f.key == "useful"]
    assert useful.weight / useful.scale == pytest.approx(SLOPE, rel=0.05)
    (noise,) = [f for f in fitted.features if f.key == "noise"]
    assert abs(noise.weight) < 0.05 * useful.weight


def test_intervals_hold_new_networks_as_often_as_they_say(fitted, later):
    points, numbers = later["points"].to_numpy(), told(fitted, later)
    for percent in PERCENTS:
        low, high = fitted.interval(numbers, percent)
        held = np.mean((low <= points) & (points <= high))
        assert held == pytest.approx(int(percent) / 100, abs=0.06)


def test_a_measure_that_costs_more_than_is_allowed_is_not_taken(fitted):
    """ "dear" is the answer itself, for nine tenths of a retraining."""
    frame = rows()
    assert MeasureCosts(frame).of(["third"]) == pytest.approx(0.9)
    assert MeasureCosts(frame).of(["first", "second"]) == pytest.approx(0.02)
    assert affordable(frame, PLAN) == ["useful", "twin", "noise"]
    assert affordable(frame, FitOptions(MEASURE_OF, most=0.015)) == ["useful", "twin"]
    assert affordable(frame.drop("s.second"), PLAN) == ["useful", "twin"]
    assert "third" not in fitted.measures
    dear = fit(frame, FitOptions(MEASURE_OF, most=1.0))
    assert "third" in dear.measures
    off = np.abs(dear.points(told(dear, frame)) - frame["points"].to_numpy())
    assert off.mean() < 0.5 * NOISE


def test_ridge_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    want = Ridge(alpha=2.5).fit(x, y)
    b, w = fit_ridge(x, y, 2.5)
    np.testing.assert_allclose(w, want.coef_, rtol=1e-10)
    assert b == pytest.approx(want.intercept_, rel=1e-10)


def test_squashing_is_undone_and_small_losses_are_left_as_they_are():
    points = np.array([-3.0, 0.0, 0.01, 1.0, 60.0])
    for squash in (None, 1.0, 5.0):
        np.testing.assert_allclose(unsquashed(squash_points(points, squash), squash), points, rtol=1e-12)
    np.testing.assert_allclose(squash_points(np.array([0.01]), 1.0), 0.01, rtol=1e-4)


def test_what_is_missing_has_a_weight_of_its_own():
    """Networks whose number is not finite lose 20 points more: that is found, too."""
    frame = rows(240)
    gone = pl.col("network").str.ends_with("5")
    changed = frame.with_columns(
        pl.when(gone).then(None).otherwise(pl.col("m.useful")).alias("m.useful"),
        pl.when(gone).then(30.0).otherwise(pl.col("points")).alias("points"),
    ).drop("m.twin")
    fitted = fit(changed, FitOptions({key: MEASURE_OF[key] for key in ("useful", "noise", "dear")}))
    off = np.abs(fitted.points(told(fitted, changed)) - changed["points"].to_numpy())
    lost = changed["m.useful"].is_null().to_numpy()
    assert off[lost].mean() < 1.5
    assert off[~lost].mean() < 1.5


def test_a_constant_is_no_column_and_mostly_equal_numbers_have_a_scale():
    numbers = {"constant": np.ones(9), "rare": np.array([0.0] * 8 + [1.0]), "gone": np.full(9, np.nan)}
    made = columns(numbers, {})
    assert [feature.key for feature in made.features] == ["rare"]
    assert made.features[0].scale > 0


def test_quantile_counts_every_group_alike():
    values, weights = np.array([1.0, 2.0, 3.0, 10.0]), np.array([1 / 3, 1 / 3, 1 / 3, 1.0])
    assert quantile(values, weights, 0.5) == 3.0
    assert quantile(values, weights, 0.51) == 10.0
    assert quantile(values, np.ones(4), 0.5) == 2.0


def test_the_same_rows_give_the_same_bytes(fitted):
    assert write_fitted(fit(rows().drop("m.twin"), PLAN)) == write_fitted(fitted)


def test_too_few_families_are_refused():
    two = rows().filter(pl.col("family").is_in(["mlp", "lenet"]))
    with pytest.raises(IsopruneError, match="The rows have 2 values of family"):
        fit(two, PLAN)
