"""The page of a diagnosis: whole, alone, with every number of the diagnosis, and deaf to hostile names."""

from __future__ import annotations

import json
import re

import pytest

from isoprune.reporting import diagnosis_figures as figures
from isoprune.reporting import diagnosis_page
from isoprune.reporting.charts import specification
from isoprune.reporting.html import _bundle
from isoprune.types import IsopruneError
from reporting.diagnoses import diagnosis, expected

HOSTILE = '</script><script>document.title="broken"</script>'


def written(tmp_path, record):
    return diagnosis_page(record, tmp_path / "page.html").read_text(encoding="utf-8")


def charts(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])[
        "charts"
    ]


def test_page_holds_everything_that_the_diagnosis_says(tmp_path):
    record = diagnosis()
    page = written(tmp_path, record)
    for told in (*record["sentences"], *record["restored"], *record["provisos"], record["network"]):
        assert told in page
    assert "<h1" in page
    assert ">Collapsed<" in page
    for row in record["layers"]:
        assert row["name"] in page
    assert "reconstruct" in page
    assert "It must know which channels went" in page
    assert "collapsed: mean over the dense network&#39;s, below" in page
    assert not re.search(r"https?://", page.replace(_bundle(), ""))
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets


def test_exact_values_are_drawn_and_estimates_have_error_bars_instead(tmp_path):
    assert set(charts(written(tmp_path, diagnosis()))) == {"sigma", "means", "gains"}
    page = written(tmp_path, diagnosis(estimated=True))
    assert set(charts(page)) == {"means", "gains"}
    rows = charts(page)["means"]["datasets"]["rows"]
    assert [(row["high"] - row["low"]) / 2 for row in rows] == pytest.approx([0.003] * 3)
    assert "0.0400 ± 0.0030" in page
    assert "holds the exact mean 19 times of 20" in page


def test_without_a_dense_network_layers_are_held_against_one(tmp_path):
    page = written(tmp_path, diagnosis(compared=False))
    assert {row["before"] for row in charts(page)["gains"]["datasets"]["rows"]} == {1.0}
    assert "times dense" not in page
    assert "against 1, which loses nothing" in page


def test_of_many_layers_those_that_changed_most_are_drawn_in_their_order(tmp_path):
    record = diagnosis(layers=300)
    page = written(tmp_path, record)
    drawn = [row["layer"] for row in charts(page)["gains"]["datasets"]["rows"]]
    assert len(drawn) == figures.LAYERS
    lost = [row["name"] for row in record["layers"] if row["lost"] > 0]
    assert drawn == lost[: figures.LAYERS]
    assert f"the {figures.LAYERS} of 300 that changed most" in page


def test_dead_layers_and_networks_are_drawn_at_a_floor_and_told_as_they_are(tmp_path):
    record = diagnosis()
    record["layers"][0]["backward_gain"] = 0.0
    record["networks"][1]["jsv"] |= {"mean": 0.0, "min": 0.0}
    drawn = charts(written(tmp_path, record))
    assert drawn["gains"]["datasets"]["rows"][0]["gain"] > 0
    assert drawn["gains"]["datasets"]["rows"][0]["own"] == "0"
    assert drawn["means"]["datasets"]["rows"][1]["mean"] > 0
    assert drawn["means"]["datasets"]["rows"][1]["text"] == "0"


def test_axes_hold_every_point(tmp_path):
    for chart in (figures.means(diagnosis()["networks"]), figures.layers(diagnosis()["layers"])):
        scales = re.findall(
            r'"domain": (\[[\d.e-]+, [\d.e-]+\]), "nice": false', json.dumps(specification(chart))
        )
        low, high = json.loads(scales[0])
        ends = [row.get("gain", row.get("mean")) for row in chart.tables["rows"]]
        assert low < min(ends) <= max(ends) < high


def test_every_network_has_its_own_colour():
    networks = [
        {"name": name, "role": role}
        for name, role in (
            ("dense", "dense"),
            ("pruned", "own"),
            *((r, "repaired") for r in ("scratch", "orthp", "a")),
        )
    ]
    assert len(set(figures.colours(networks).values())) == 5


def test_a_healthy_network_without_repairs_says_that_there_is_nothing_to_restore(tmp_path):
    page = written(tmp_path, diagnosis(verdict="healthy", restored=[], refused={}))
    assert "there is nothing to restore" in page
    assert "fit to be retrained" in page


def test_hostile_names_stay_text(tmp_path):
    record = diagnosis(network=HOSTILE, restored=[HOSTILE], refused={HOSTILE: HOSTILE})
    record["layers"][0]["name"] = HOSTILE
    record["networks"][2]["name"] = HOSTILE
    page = written(tmp_path, record)
    assert HOSTILE not in page
    assert page.count("<script") == 3


def test_what_is_no_diagnosis_or_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(IsopruneError, match=r"not a diagnosis\. Make one: isoprune diagnose"):
        diagnosis_page({"stages": {}}, tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"cannot be written to .*Give another place"):
        diagnosis_page(diagnosis(), tmp_path / "file" / "page.html")


def test_a_forecast_is_drawn_with_its_intervals_beside_the_dense_accuracy(tmp_path):
    page = written(tmp_path, diagnosis(forecast=expected()))
    drawn = charts(page)["forecast"]["datasets"]
    points = {row["network"]: row["accuracy"] for row in drawn["rows"]}
    assert points == pytest.approx({"dense": 90.0, "retrained": 83.6})
    # The wider one is drawn first, and the narrower one over it.
    ends = [(span["share"], span["low"], span["high"]) for span in drawn["spans"]]
    assert [share for share, *_ in ends] == ["95 %", "80 %"]
    assert [end for _, *both in ends for end in both] == pytest.approx([70.0, 88.0, 81.0, 85.0])
    assert "Forecast: it reaches 83.6\u00a0%." in page
    assert "retraining on 10,000 samples" in page


def test_where_there_is_no_forecast_the_page_says_why_or_nothing(tmp_path):
    none = expected(accuracy=None, intervals={}, refused="this network is unlike the 10.", sentences=[])
    page = written(tmp_path, diagnosis(forecast=none))
    assert "No forecast of the accuracy after retraining: this network is unlike the 10." in page
    assert "forecast" not in charts(page)
    assert "forecast-section" not in written(tmp_path, diagnosis())
