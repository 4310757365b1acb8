"""The forecast of one network: its numbers, its words, and when there is none."""

from __future__ import annotations

import re

import msgspec
import pytest

from forecast.made import MEASURE_OF, SLOPE, rows
from isoprune.forecast import forecast
from isoprune.forecast.fitting import FitOptions, fit

KNOWN = {"dense_accuracy": 0.85, "parameters_left": 0.5, "flops_left": 0.5, "samples": 10_000}


@pytest.fixture(scope="module")
def fitted():
    return fit(rows().drop("m.twin", "m.noise"), FitOptions(MEASURE_OF))


def test_it_lies_in_its_intervals_and_the_wider_holds_the_narrower(fitted):
    found = forecast(fitted, {"useful": 1.0}, **KNOWN)
    assert found.accuracy == pytest.approx(0.85 - (10 + SLOPE) / 100, abs=0.003)
    low, high = found.intervals["80"]
    wide = found.intervals["95"]
    assert wide[0] < low < found.accuracy < high < wide[1]
    assert found.refused == ""
    assert f"reaches {100 * found.accuracy:.1f} %" in found.sentences[0]
    assert "points below the dense network's 85.0 %" in found.sentences[0]


def test_what_moves_it_adds_up_to_the_forecast_from_that_of_the_median_network(fitted):
    found = forecast(fitted, {"useful": 1.0}, **KNOWN)
    assert fitted.squash is None  # else points do not add up
    below = 100 * (0.85 - found.accuracy)
    assert sum(move.points for move in found.moves) == pytest.approx(below - fitted.intercept, abs=0.1)
    assert found.moves[0].name == "useful"
    assert "useful at 1 costs" in found.sentences[1]
    assert "retraining samples at 10,000 gives 1.0 points" in found.sentences[1]


@pytest.mark.parametrize(
    ("measured", "changes", "reason"),
    [
        ({"useful": 9.0}, {}, r"unlike the 160 .* Furthest off: useful is 9, theirs −3.11 to 2.35"),
        ({"useful": 0.0}, {"samples": 10**9}, r"retraining samples is 1,000,000,000, theirs 1,000 to 10,000"),
        ({"useful": None}, {}, "useful is not finite here"),
        ({}, {}, "useful is not finite here"),
    ],
)
def test_a_network_unlike_all_that_were_fitted_on_has_none(fitted, measured, changes, reason):
    found = forecast(fitted, measured, **{**KNOWN, **changes})
    assert found.accuracy is None
    assert found.intervals == {}
    assert re.search(reason, found.refused)
    assert str(found).startswith("No forecast: ")


def test_an_accuracy_is_a_fraction_of_one(fitted):
    anywhere = msgspec.structs.replace(fitted, furthest=100.0)
    found = forecast(anywhere, {"useful": 2.0}, **{**KNOWN, "dense_accuracy": 0.05})
    assert found.accuracy == 0
    assert found.intervals["95"][0] == 0
