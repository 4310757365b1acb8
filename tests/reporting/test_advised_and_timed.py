"""Records with an advised rate, with times, with targets: one cell a setting, every row on the page."""

from __future__ import annotations

import json
import math

import pytest
from msgspec.structs import replace

from isoprune.reporting import explain, report, tables
from isoprune.reporting.study import make_cells
from isoprune.types.record import Record
from reporting.records import record

RATES = (0.01, 0.03, 0.1)
ROWS = [
    {"model": "dense", "backend": "eager", "median_ms": 2.5, "lower_ms": 2.25, "upper_ms": 3.0}
    | {"runs": 30, "gain": 1.0, "flops_gain": 1.0, "of_flops_gain": 1.0, "problem": ""},
    {"model": "pruned", "backend": "eager", "median_ms": 1.25, "lower_ms": 1.0, "upper_ms": 1.5}
    | {"runs": 30, "gain": 2.0, "flops_gain": 3.5, "of_flops_gain": 0.57, "problem": ""},
    {"model": "pruned", "backend": "compile", "median_ms": math.nan, "lower_ms": math.nan}
    | {"upper_ms": math.nan, "runs": 0, "gain": math.nan, "flops_gain": 3.5, "of_flops_gain": math.nan}
    | {"problem": "no C++ compiler"},
]


def advised(seed: int, lr: float, **more) -> Record:
    one = record(seed=seed, lr=0.01, **more)
    one.config["retrain"]["lr"] = "auto"
    advice = {"lr": lr, "given_up": [], "probes": []}
    networks = [replace(n, advice=advice) if n.role == "retrained" else n for n in one.networks]
    return replace(one, networks=networks)


def test_seeds_that_were_advised_different_rates_are_one_cell():
    fixed = [record(seed=seed, lr=0.01) for seed in range(3)]
    cells = make_cells([*fixed, *(advised(seed, lr) for seed, lr in enumerate(RATES))])
    assert [(len(c.records), c.lr, c.extra) for c in cells] == [(3, 0.01, ""), (3, 0.03, "advised rate")]


def test_a_rate_that_was_advised_on_a_network_that_was_not_retrained_is_none():
    one = advised(0, 0.1, epochs=0)
    assert [(c.lr, c.extra) for c in make_cells([one])] == [(None, "")]


def test_the_label_stands_before_what_else_tells_cells_apart():
    records = [advised(0, 0.1), advised(0, 0.03)]
    records[1].config["retrain"]["batch"] = 50
    assert {c.extra for c in make_cells(records)} == {"advised rate, batch 100", "advised rate, batch 50"}


def test_a_page_of_advised_rates_says_so(tmp_path):
    file = report([advised(seed, lr) for seed, lr in enumerate(RATES)], tmp_path / "page.html")
    page = file.read_text()
    assert "advised rate" in page
    assert "LR as advised" in page.replace("\u00a0", " ")
    assert explain([advised(seed, lr) for seed, lr in enumerate(RATES)])


def test_seeds_that_meet_one_target_at_different_ratios_are_one_cell():
    records = [record(seed=seed) for seed in range(3)] + [record(seed=0, repair="orthp")]
    for one, realised in zip(records, (0.31, 0.33, 0.34, 0.35), strict=True):
        one.config["prune"] |= {"ratio": None, "flops": 0.5}
        one.removals[-1].ratios["filters"] = realised
    cells = make_cells(records)
    assert [(c.repair, c.ratio, len(c.records)) for c in cells] == [
        ("no repair", 0.33, 3),
        ("OrthP", 0.33, 1),
    ]
    records[0].config["prune"]["flops"] = 0.6
    assert [(c.ratio, len(c.records)) for c in make_cells(records[:3])] == [(0.31, 1), (0.33, 2)]


@pytest.mark.parametrize("disk", [False, True], ids=["as measured", "from the disk"])
def test_every_time_is_a_row_and_a_problem_stands_where_its_time_would(disk, tmp_path):
    rows = json.loads(json.dumps(ROWS).replace("NaN", "null")) if disk else ROWS
    timed = replace(record(), latency=rows)
    table = tables.latency(timed.latency)
    assert table.rows == (
        ("dense", "eager", "2.50", "2.25 to 3.00", "1.00", "1.00"),
        ("pruned", "eager", "1.25", "1.00 to 1.50", "2.00", "3.50"),
        ("pruned", "compile", "no C++ compiler", "–", "–", "3.50"),
    )
    page = report([record(seed=1), timed], tmp_path / "page.html").read_text()
    assert "What a forward takes" in page
    assert "no C++ compiler" in page


def test_without_a_dense_network_that_runs_there_is_no_gain():
    alone = ROWS[1] | {"gain": None}
    assert tables.latency([alone]).rows == (("pruned", "eager", "1.25", "1.00 to 1.50", "–", "3.50"),)


def test_a_page_without_times_has_no_table_of_them(tmp_path):
    assert "What a forward takes" not in report([record()], tmp_path / "page.html").read_text()
