"""The verdict on measures and forecasts: of rows whose truth is known, on groups that were left out."""

from __future__ import annotations

import math
from hashlib import sha256

import polars as pl
import pytest
from msgspec.structs import replace

from commands import refused
from forecast.made import MEASURE_OF, NOISE, rows
from isoprune.cli import main
from isoprune.comparison.statistics import kendall_tau
from isoprune.forecast import read_fitted, write_fitted
from isoprune.forecast.columns import KNOWN
from isoprune.forecast.fitting import FitOptions, fit
from isoprune.forecast.rows import at_best_rate, read_rows
from isoprune.reproduction.forecasts import measure_names
from isoprune.reproduction.forecasts import page as pages
from isoprune.reproduction.forecasts.contest import by_trees
from isoprune.reproduction.forecasts.cross_validation import cross_validate
from isoprune.reproduction.forecasts.page import best_measures, reached_against_measures
from isoprune.reproduction.forecasts.verdict import judge_measures, outcomes
from isoprune.types import IsopruneError


@pytest.fixture(scope="module")
def judged():
    return judge_measures(rows(96), MEASURE_OF, draws=100)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows of four ratios, under names that the page knows: accuracy says nothing, the JSV all."""
    names = {
        "m.useful": "m.log_jsv_mean",
        "m.noise": "m.accuracy",
        "s.first": "s.jsv",
        "s.second": "s.accuracy",
    }
    frame = rows(64).drop("points", "m.twin", "m.dear", "s.third").rename(names)
    last = pl.col("network").str.ends_with("1")
    frame = frame.with_columns(ratio=pl.when(last).then(0.9).otherwise(pl.col("ratio")))
    frame.write_csv(file := tmp_path_factory.mktemp("study") / "rows.csv")
    return file


def test_what_tells_something_comes_first_and_noise_stays_open(judged):
    by_key = {one.key: one for one in judged}
    (full, fixed, short, _) = outcomes(rows(96))
    assert (full.budget, full.rate, fixed.rate, short.budget) == ("full", "best", "fixed", "short")
    assert judged[0].key == "dear"
    assert {one.key for one in judged[1:3]} == {"useful", "twin"}
    assert by_key["useful"].within[full].p < 0.05
    assert by_key["useful"].within[full].value < -0.5
    assert by_key["noise"].within[full].p > 0.05
    # The accuracy before retraining is the same in all: it orders nothing, and explains nothing.
    assert math.isnan(by_key["before_accuracy"].within[full].value)


def test_over_all_it_is_the_plain_tau(judged):
    frame = rows(96).filter(pl.col("budget") == "full")
    full = next(iter(outcomes(rows(96))))
    (useful,) = [one for one in judged if one.key == "useful"]
    want = kendall_tau(frame["m.useful"].to_list(), frame["accuracy"].to_list())
    assert useful.overall[full].value == pytest.approx(want, abs=1e-12)
    assert useful.cost == pytest.approx(0.01)


def test_p_is_corrected_for_the_number_of_numbers(judged):
    alone = judge_measures(rows(96).drop("m.useful", "m.twin", "m.dear"), MEASURE_OF, draws=100)
    full = next(iter(outcomes(rows(96))))
    many, few = (next(j for j in each if j.key == "noise").within[full].p for each in (judged, alone))
    assert many >= few


def test_on_a_family_that_it_has_not_seen_the_error_is_the_planted_one():
    found = cross_validate(rows(), FitOptions(MEASURE_OF), draws=100)
    assert found.quality.error.mean == pytest.approx(NOISE * math.sqrt(2 / math.pi), rel=0.1)
    assert found.quality.tau.low < found.quality.tau.value < found.quality.tau.high
    assert found.coverage["80"] == pytest.approx(0.8, abs=0.08)
    assert found.coverage["95"] == pytest.approx(0.95, abs=0.05)
    assert set(found.measures) == {"first", "second"}
    assert found.cost == pytest.approx(0.02)
    assert set(found.groups) == {"mlp", "lenet", "vgg", "resnet"}


def test_a_family_that_lies_elsewhere_is_called_unlike():
    near, far = (cross_validate(rows(shift=shift), FitOptions(MEASURE_OF), draws=10) for shift in (0.0, 8.0))
    assert near.refused < 0.15
    assert far.refused >= 0.25  # all of that family


def test_trees_find_the_planted_line_too():
    off = by_trees(rows(), later := rows(seed=5), FitOptions(MEASURE_OF)) - later["points"].to_numpy()
    assert abs(off).mean() < 2 * NOISE


def test_every_number_of_a_measure_is_known_and_what_is_left_needs_none():
    made = measure_names.measure_of()
    assert made["accuracy"] == "accuracy"
    assert made["log_jsv_mean"] == "jsv"
    assert not {f"log_{number}" for number in made} & set(KNOWN)


def test_the_figure_shows_the_best_number_of_each_measure(judged):
    shown = [one.key for one in best_measures(judged)]
    assert shown == ["dear", judged[1].key, "noise"]  # of "useful" and "twin", which are of one measure, one
    spec = reached_against_measures(rows(96), judged)
    panels = [panel for line in spec["vconcat"] for panel in line["hconcat"]]
    assert [panel["title"]["text"] for panel in panels] == shown
    assert [len(points) for points in spec["datasets"].values()] == [96] * 3


def test_the_command_writes_the_forecast_its_page_and_its_figure(table, tmp_path, monkeypatch, capsys):
    of = {"log_jsv_mean": "jsv", "accuracy": "accuracy"}
    monkeypatch.setattr(measure_names, "measure_of", lambda: of)
    page = tmp_path / "forecast.md"
    page.write_text(f"# Title\n\n{pages.MARK}\nold\n{pages.MARK}\n\n## The study\n")
    words = ["forecast", str(table), "--page", str(page), "--figure", str(tmp_path / "figure.svg")]
    assert main([*words, "--out", str(tmp_path / "a.json")]) == 0
    told, written = capsys.readouterr().out, page.read_text(encoding="utf-8")
    want = fit(
        at_best_rate(read_rows(table)[0]), FitOptions(of), digest=sha256(table.read_bytes()).hexdigest()
    )
    got = read_fitted(tmp_path / "a.json")
    assert write_fitted(replace(got, judged=None)) == write_fitted(want)
    assert got.judged is not None
    assert "log_jsv_mean says most of the accuracy after retraining" in told
    assert "The goal (an error of at most 1 point, a tau of at least 0.8, at 5 %) is met." in told
    assert written.startswith("# Title\n")
    assert written.endswith("## The study\n")
    assert "old" not in written
    assert "accuracy before retraining alone" in written
    assert "On **ratios** that it has not seen" in written
    assert (tmp_path / "figure.svg").stat().st_size > 1000


def test_a_page_without_its_marks_is_left_alone(tmp_path):
    (tmp_path / "page.md").write_text("# Mine\n")
    with pytest.raises(IsopruneError, match="has 0 lines"):
        pages.replace_in(tmp_path / "page.md", "new")
    assert (tmp_path / "page.md").read_text() == "# Mine\n"


def test_rows_that_are_not_there_are_refused(capsys):
    assert "There is no file none.csv" in refused(capsys, "forecast", "none.csv")
