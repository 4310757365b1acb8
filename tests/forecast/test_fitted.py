"""The file of a fitted forecast: whole or refused; the distance from what was fitted on."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from forecast.made import MEASURE_OF, rows
from isoprune.forecast import Judged, read_fitted, write_fitted
from isoprune.forecast.columns import columns_of
from isoprune.forecast.fitting import FitOptions, fit
from isoprune.types import IsopruneError
from isoprune.types.json_files import sealed


@pytest.fixture(scope="module")
def fitted():
    made = fit(rows().drop("m.twin"), FitOptions(MEASURE_OF), digest="0" * 64)
    return msgspec.structs.replace(made, judged=Judged(0.4, 0.9, 0.01, {"80": 0.81}))


def test_what_is_written_is_read_and_forecasts_the_same(tmp_path, fitted):
    (tmp_path / "fitted.json").write_bytes(write_fitted(fitted))
    back = read_fitted(tmp_path / "fitted.json")
    frame = rows(40, seed=3)
    numbers = columns_of(frame, [feature.key for feature in fitted.features])
    np.testing.assert_allclose(back.points(numbers), fitted.points(numbers), rtol=1e-6)
    np.testing.assert_allclose(back.distance(numbers), fitted.distance(numbers), rtol=1e-6)
    # Nine digits stay: written again, the file is the same.
    assert write_fitted(back) == write_fitted(fitted)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-20], "is damaged: its checksum is not that of its content"),
        (lambda content: content.replace(b'"intercept": ', b'"intercept": 1'), "its checksum is not that"),
        (lambda _: b"{}", "is damaged: it does not begin with a checksum"),
        (lambda _: sealed({"version": 1}), "is not a fitted forecast"),
        (lambda content: sealed({**json.loads(content), "version": 99}), "is a forecast of version 99"),
        (
            lambda content: sealed({**json.loads(content), "precision": [[1.0]]}),
            "the precision of 6 features",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, fitted, damage, message):
    (tmp_path / "fitted.json").write_bytes(damage(write_fitted(fitted)))
    with pytest.raises(IsopruneError, match=message) as refused:
        read_fitted(tmp_path / "fitted.json")
    assert "\n" not in str(refused.value)
    assert "isoprune forecast" in str(refused.value)


def test_distance_is_that_of_mahalanobis(fitted):
    frame = rows(20, seed=4)
    numbers = columns_of(frame, [feature.key for feature in fitted.features])
    z = fitted.scaled(numbers)
    slow = [np.sqrt(row @ np.array(fitted.precision) @ row / len(row)) for row in z]
    np.testing.assert_allclose(fitted.distance(numbers), slow, rtol=1e-12)


def test_networks_like_those_fitted_on_are_near_and_others_far(fitted):
    frame = rows(400, seed=5)
    numbers = columns_of(frame, [feature.key for feature in fitted.features])
    assert np.mean(fitted.distance(numbers) <= fitted.furthest) == pytest.approx(0.95, abs=0.04)
    for key in ("useful", "log_parameters_left", "log_samples"):
        moved = {**numbers, key: numbers[key] + 8 * next(f.scale for f in fitted.features if f.key == key)}
        assert np.all(fitted.distance(moved) > fitted.furthest)
