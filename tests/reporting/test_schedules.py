"""Schedules drawn, and the learning rates of a study's runs: the rows against recounts from the records."""

from __future__ import annotations

import json

import pytest

from isoprune.reporting import report
from isoprune.reporting.schedule_figures import (
    LOW,
    MOST,
    Curve,
    draw_schedules,
    panel,
    sheet,
    used,
    used_series,
)
from isoprune.reporting.study import make_cells
from isoprune.types import IsopruneError
from reporting.browsing import draw_all
from reporting.records import jsv_vs_ratio, lr_effect, record

CURVES = [
    Curve("falls", "to 0", [(float(i), 1 - i / 10) for i in range(11)]),
    Curve("<b>stays</b>", "no options", [(float(i), 1.0) for i in range(11)]),
]


def test_a_panel_holds_every_point_and_what_is_lower_lies_on_its_floor():
    rows = panel(CURVES[0]).tables["rows"]
    assert [row["x"] for row in rows] == [x for x, _ in CURVES[0].points]
    assert [row["factor"] for row in rows[:-1]] == pytest.approx([y for _, y in CURVES[0].points[:-1]])
    assert 0 < rows[-1]["factor"] < 10.0**-LOW
    assert rows[-1]["text"] == "0"


def test_a_sheet_has_a_panel_with_its_own_points_for_each():
    spec = sheet(CURVES)
    assert [one["title"]["text"] for one in spec["concat"]] == [curve.name for curve in CURVES]
    for one, curve, kept in zip(spec["concat"], CURVES, (slice(None), slice(0, 11, 10)), strict=True):
        # Of a level stretch, its two ends.
        rows = panel(curve).tables["rows"][kept]
        assert [(row["x"], row["factor"]) for row in one["data"]["values"]] == [
            (r["x"], r["factor"]) for r in rows
        ]
        assert all("data" not in layer for layer in one["layer"])
    json.dumps(spec, allow_nan=False)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_a_picture_is_written_in_its_format(form, dark, tmp_path):
    file = draw_schedules(CURVES, tmp_path / "made" / f"s.{form}", dark=dark)
    assert file.read_bytes().startswith({"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}[form])
    if form == "svg":
        # Two lines and two areas that are drawn, not an empty frame.
        assert file.read_text().count('aria-roledescription="line mark"') == 2


def test_the_page_draws_all_in_silence(opened, tmp_path):
    page = opened(draw_schedules(CURVES, tmp_path / "s.html"))
    draw_all(page)
    assert page.locator("svg.marks").count() == 2
    assert page.locator("svg.marks g.mark-line path").count() == 2


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(
        IsopruneError, match=r"s\.gif has no ending that can be drawn\. Known: \.html, \.pdf, \.svg"
    ):
        draw_schedules(CURVES, tmp_path / "s.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"figure cannot be written to .*Give another place"):
        draw_schedules(CURVES, tmp_path / "file" / "s.svg")


def test_equal_rates_are_one_line_and_each_is_its_history():
    records = lr_effect(2)
    cells = make_cells(records)
    entries = used_series(cells)
    assert [entry.label for entry in entries] == ["LR 1e-2, step_decay", "LR 1e-3, step_decay"]
    rows = used(cells).tables["rows"]
    for entry, lr in zip(entries, (1e-2, 1e-3), strict=True):
        history = next(r for r in records if r.config["retrain"]["lr"] == lr).network("retrained").history
        mine = [row for row in rows if row["series"] == entry.label]
        # An epoch's rate holds from its beginning to its end.
        assert [(row["x"], row["lr"]) for row in mine] == [
            (x, row["lr"]) for row in history[1:] for x in (row["epoch"] - 1, row["epoch"])
        ]


def test_other_schedules_of_one_name_and_rate_are_told_apart():
    records = [record(seed=seed) for seed in (0, 1)]
    for row in records[1].network("retrained").history:
        row["lr"] = 1e-2
    assert [e.label for e in used_series(make_cells(records))] == [
        "LR 1e-2, step_decay",
        "LR 1e-2, step_decay (2)",
    ]


def test_what_falls_far_lies_on_the_floor_and_keeps_its_words():
    one = record()
    for row in one.network("retrained").history:
        row["lr"] = 1e-2 * 10.0 ** -row["epoch"]
    figure = used(make_cells([one]))
    assert min(row["lr"] for row in figure.tables["rows"]) == pytest.approx(1e-3 * 10.0**-LOW)
    assert figure.tables["hover"][-1]["t0"] == "1e-32"


def test_no_history_no_steps_and_no_forest():
    assert used(make_cells(jsv_vs_ratio())) is None
    budget = record()
    budget.config["retrain"]["steps"] = 100
    assert used(make_cells([budget])) is None
    many = [record(lr=1e-3 * (i + 1)) for i in range(MOST + 1)]
    assert len(used_series(make_cells(many[:-1]))) == MOST
    assert used(make_cells(many)) is None


def test_the_report_shows_the_rates_and_hides_one_on_demand(opened, tmp_path):
    page = opened(report(lr_effect(1), tmp_path / "page.html"))
    draw_all(page)
    lines = page.locator("#rates g.mark-line path")
    assert lines.count() == 2
    page.locator(".rates .legend button").first.click()
    page.wait_for_function("document.querySelectorAll('#rates g.mark-line path').length === 1")


def test_the_page_tells_each_schedule_with_its_own_options(tmp_path):
    records = [record(lr=lr) for lr in (1e-2, 1e-3)]
    inner = {"name": "cosine", "floor": 0.0}
    records[1].config["retrain"]["schedule"] = {"name": "warm_up", "rise": 3, "schedule": inner}
    page = report(records, tmp_path / "page.html").read_text()
    assert "step_decay at 10, 20 (× 0.1) and warm_up of cosine, batch" in page


def test_a_rewound_network_has_the_label_of_what_was_done_to_it():
    plain, rewound, repaired = record(), record(), record(repair="orthp")
    for one in (rewound, repaired):
        one.config["rewind"] = 5
    cells = make_cells([plain, rewound, repaired])
    labels = {cell.repair: (cell.untouched, cell.extra) for cell in cells}
    assert labels == {
        "no repair": (True, ""),
        "rewound to epoch 5": (False, ""),
        "rewound to epoch 5 + OrthP": (False, ""),
    }
