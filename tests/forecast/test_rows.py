"""The rows of a study: which retraining counts, and tables that are none."""

from __future__ import annotations

import hashlib

import polars as pl
import pytest

from forecast.made import rows
from isoprune.forecast.rows import at_best_rate, at_fixed_rate, read_rows
from isoprune.types import IsopruneError


def three_rates() -> pl.DataFrame:
    """Each retraining at three rates: the largest is best on validation data, the smallest on test data."""
    each = [
        rows(8).with_columns(
            lr=pl.lit(lr),
            accuracy=pl.col("accuracy") + test,
            validation_accuracy=pl.col("validation_accuracy") + validation,
        )
        for lr, test, validation in ((0.1, 0.0, 0.2), (0.01, 0.1, 0.1), (0.001, 0.2, 0.0))
    ]
    return pl.concat(each)


def test_the_best_rate_is_that_of_validation_data():
    best = at_best_rate(three_rates())
    assert best["lr"].unique().to_list() == [0.1]
    assert len(best) == 16


def test_of_rates_that_are_level_the_largest_counts():
    level = three_rates().with_columns(validation_accuracy=pl.lit(0.5))
    assert at_best_rate(level)["lr"].unique().to_list() == [0.1]


def test_the_fixed_rate_is_the_middle_one_of_a_family():
    fixed = at_fixed_rate(three_rates())
    assert fixed["lr"].unique().to_list() == [0.01]
    assert len(fixed) == 16


def test_points_below_dense_and_the_digest_are_those_of_the_file(tmp_path):
    three_rates().drop("points").write_csv(tmp_path / "rows.csv")
    frame, digest = read_rows(tmp_path / "rows.csv")
    assert digest == hashlib.sha256((tmp_path / "rows.csv").read_bytes()).hexdigest()
    want = 100 * (frame["dense_accuracy"] - frame["accuracy"])
    assert (frame["points"] - want).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("lr"), "rows.csv has no column lr"),
        (lambda frame: frame.with_columns(lr=pl.lit("fast")), "rows.csv has what is not a number"),
        (lambda frame: frame.with_columns(accuracy=pl.lit(None)), "rows.csv has a row without accuracy"),
    ],
)
def test_tables_that_are_no_rows_are_refused_in_one_line(tmp_path, change, message):
    change(rows(4)).write_csv(tmp_path / "rows.csv")
    with pytest.raises(IsopruneError, match=message) as refused:
        read_rows(tmp_path / "rows.csv")
    assert "\n" not in str(refused.value)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(IsopruneError, match="There is no file"):
        read_rows(tmp_path / "rows.csv")
