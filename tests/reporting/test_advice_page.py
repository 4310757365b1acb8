"""The page of advice and its charts: whole, alone, with every number, and deaf to hostile names."""

from __future__ import annotations

import json
import re

import pytest
from scipy.stats import binomtest

from isoprune.reporting import advice_figures as figures
from isoprune.reporting import advice_page, write_figure
from isoprune.reporting import advice_words as words
from isoprune.reporting.charts import specification
from isoprune.reporting.html import _bundle
from isoprune.types import IsopruneError
from reporting.advices import RATES, advice

HOSTILE = '</script><script>document.title="broken"</script>'


def written(tmp_path, record):
    return advice_page(record, tmp_path / "page.html").read_text(encoding="utf-8")


def plain(page):
    return page.replace("\u00a0", " ").replace("&#39;", "'").replace("&#34;", '"')


def charts(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])[
        "charts"
    ]


@pytest.mark.parametrize("samples", [1, 7, 129, 2000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_interval_is_wilsons(samples, share):
    """Against SciPy's, which is written out in another way."""
    right = round(share * samples)
    want = binomtest(right, samples).proportion_ci(0.95, method="wilson")
    assert figures.interval(right / samples, samples) == pytest.approx((want.low, want.high), abs=1e-6)


def test_page_holds_everything_that_the_advice_says(tmp_path):
    record = advice()
    page = plain(written(tmp_path, record))
    for told in (*words.reasons(record), *words.doubts(record), *record["provisos"], record["network"]):
        assert told in page
    for line in record["copy"].values():
        assert f"<code>{line}</code>" in page
    assert ">lr = 0.1</h1>" in page
    assert 'With schedule = "one_cycle": the largest of the probed rates' in page
    assert "Validation and test data were not touched" in page
    for probe in record["probes"]:
        assert f"<td>{probe['lr']:g}</td>" in page
    assert "<td>diverged</td>" in page
    assert "exact, on 64 training inputs" in page
    assert not re.search(r"https?://", page.replace(plain(_bundle()), ""))
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets


def test_charts_hold_every_probe_its_error_bar_and_the_band_of_the_rule(tmp_path):
    drawn = charts(written(tmp_path, advice()))
    assert set(drawn) == {"accuracies", "schedule"}
    tables = drawn["accuracies"]["datasets"]
    assert [row["rate"] for row in tables["rows"]] == list(RATES[:4])
    assert [row["rate"] for row in tables["lost"]] == [0.3]
    for row, accuracy in zip(tables["rows"], (0.4, 0.6, 0.8, 0.795), strict=True):
        assert (row["low"], row["high"]) == pytest.approx([100 * x for x in figures.interval(accuracy, 400)])
        assert row["accuracy"] == pytest.approx(100 * accuracy)
    assert [row["rate"] for row in tables["rows"] if row["advised"]] == [0.1]
    (band,) = tables["band"]
    assert (band["y"], band["top"]) == pytest.approx((79.0, 80.0))
    assert {level["label"]: level["y"] for level in tables["levels"]} == pytest.approx(
        {"before any step": 25.0, "most frequent class": 11.0}
    )


@pytest.mark.parametrize("swap", [False, True])
def test_names_of_the_lines_never_lie_on_each_other(swap):
    start, chance = (0.1, 0.11) if swap else (0.11, 0.1)
    levels = figures.accuracies(advice(start=start, chance=chance)).tables["levels"]
    assert [level["above"] for level in levels] == [True, False]
    assert levels[0]["y"] > levels[1]["y"]


@pytest.mark.parametrize("accuracies", [(1.0,), (0.0,), (0.5, None), (0.1, 1.0, 0.2, 0.3, 0.4)])
def test_axes_hold_every_mark(accuracies):
    figure = figures.accuracies(advice(*accuracies, lr=0.003))
    scales = [json.loads(found) for found in re.findall(
        r'"domain": (\[[\d.e-]+, [\d.e-]+\]), "nice": false', json.dumps(specification(figure))
    )]  # fmt: skip
    ends = [row[key] for row in figure.tables["rows"] for key in ("low", "high")]
    assert any(low < min(ends) <= max(ends) < high for low, high in scales)
    rates = [row["rate"] for row in (*figure.tables["rows"], *figure.tables["lost"])]
    assert any(low < min(rates) <= max(rates) < high for low, high in scales)


def test_schedule_is_the_curve_at_the_advised_rate_over_the_steps():
    figure = figures.schedule(advice(lr=0.03))
    for i, row in enumerate(figure.tables["rows"]):
        assert row["step"] == pytest.approx(3 * i)
        assert row["rate"] == pytest.approx(0.03 * (1 - i / 100))


def test_damage_that_is_not_known_has_no_table(tmp_path):
    page = written(tmp_path, advice(damage={"verdict": None, "reason": "It is not deterministic."}))
    assert "It is not deterministic." in page
    assert "<summary>Damage</summary>" not in page


def test_where_nothing_is_learned_the_page_says_so_in_red(tmp_path):
    page = written(tmp_path, advice(0.1, 0.11, learns=False, lr=0.01))
    assert "No rate learns anything within its probe: repair the network first." in page
    assert re.search(r'class="verdict slot-1"', page)


def test_figures_are_files_too(tmp_path):
    figure = figures.accuracies(advice())
    svg = write_figure(figure, tmp_path / "new" / "chart.svg", title="lr = 0.1").read_text(encoding="utf-8")
    for told in ("lr = 0.1", "advised", "diverged", "most frequent class"):
        assert told in svg
    png = write_figure(figure, tmp_path / "chart.png", title="t").read_bytes()
    assert png.startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"figure cannot be written to .*Give another place"):
        write_figure(figure, tmp_path / "file" / "chart.svg", title="t")


def test_hostile_names_stay_text(tmp_path):
    record = advice(network=HOSTILE, provisos=[HOSTILE], schedule=HOSTILE, copy={HOSTILE: HOSTILE})
    page = written(tmp_path, record)
    assert HOSTILE not in page
    assert page.count("<script") == 3


def test_what_is_no_advice_or_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(IsopruneError, match=r"not advice\. Make it: isoprune advise"):
        advice_page({"stages": {}}, tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"cannot be written to .*Give another place"):
        advice_page(advice(), tmp_path / "file" / "page.html")
