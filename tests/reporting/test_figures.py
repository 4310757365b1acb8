"""Figures: the rows they draw against recounts from the records, and their files."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from msgspec.structs import replace

from isoprune.reporting import export_figures, figures, series, theme
from isoprune.reporting.study import make_cells
from isoprune.types import IsopruneError
from reporting.records import jsv_vs_ratio, lr_effect, record

ALL = (
    figures.jsv_against_ratio,
    figures.accuracy_per_epoch,
    figures.jsv_per_epoch,
    figures.singular_values,
    figures.final_accuracy,
)


def test_epoch_rows_are_mean_and_range_over_seeds():
    records = lr_effect()[:3]  # linear, no repair, 1e-2, three seeds
    rows = series.epoch_rows(make_cells(records), "validation_accuracy", percent=True)
    curves = 100 * np.array(
        [[row["validation_accuracy"] for row in one.network("retrained").history] for one in records]
    )
    assert [row["x"] for row in rows] == list(range(31))
    for key, want in (("mean", curves.mean(0)), ("low", curves.min(0)), ("high", curves.max(0))):
        np.testing.assert_allclose([row[key] for row in rows], want, rtol=1e-4)


def test_seeds_that_stopped_early_count_only_where_they_are():
    records = lr_effect()[:2]
    del records[1].network("retrained").history[5:]
    rows = series.epoch_rows(make_cells(records), "jsv_mean")
    alone = records[0].network("retrained").history[5]["jsv_mean"]
    assert len(rows) == 31
    assert rows[5]["mean"] == rows[5]["low"] == rows[5]["high"] == pytest.approx(alone, rel=1e-4)
    assert "±" in rows[4]["text"]
    assert "±" not in rows[5]["text"]


def test_jsv_rows_start_at_the_dense_network():
    studied = [one for one in jsv_vs_ratio() if one.config["prune"]["ratio"] > 0]
    rows = series.jsv_rows(make_cells(studied))
    assert len({row["series"] for row in rows}) == 8
    first = [row for row in rows if row["series"] == "mlp_7 relu, pruned"]
    assert [row["x"] for row in first] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    dense = {
        one.config["seed"]: one.network("dense").jsv["mean"]
        for one in studied
        if (one.config["model"]["name"], one.config["model"]["activation"]) == ("mlp_7", "relu")
    }
    assert first[0]["mean"] == pytest.approx(np.mean(list(dense.values())), rel=1e-4)


def test_a_repaired_line_does_not_start_at_the_dense_network_and_brings_the_pruned_one():
    rows = series.jsv_rows(make_cells([record(ratio=r, repair="orthp", epochs=0) for r in (0.3, 0.9)]))
    places = {
        name: [row["x"] for row in rows if row["series"].endswith(name)] for name in ("pruned", "OrthP")
    }
    assert places == {"pruned": [0.0, 0.3, 0.9], "OrthP": [0.3, 0.9]}


def test_jsv_of_zero_is_drawn_on_the_floor_and_told_as_zero():
    dead = [record(ratio=ratio, epochs=0) for ratio in (0.3, 0.9)]
    dead[1].network("pruned").jsv["mean"] = 0.0
    rows = series.jsv_rows(make_cells(dead))
    assert (rows[-1]["mean"], rows[-1]["text"]) == (series.FLOOR, "0")
    assert all(math.log(row["low"]) <= math.log(row["mean"]) for row in rows)


def test_spectrum_shares_sum_to_one_for_every_stage_and_ratio():
    rows = series.spectrum_rows(make_cells(lr_effect())[:6])
    assert {row["stage"] for row in rows} == {"dense", "pruned", "OrthP", "scratch"}
    for stage in ("dense", "pruned", "OrthP", "scratch"):
        mine = [row for row in rows if row["stage"] == stage]
        assert sum(row["share"] for row in mine) == pytest.approx(1, abs=1e-4)
        assert max(row["height"] for row in mine) == 1


def test_final_rows_hold_every_seed_inside_their_range():
    means, seeds = series.final_rows(make_cells(lr_effect())[:6])
    assert len(means) == 6
    assert len(seeds) == 18
    for row in means:
        mine = [dot["value"] for dot in seeds if dot["series"] == row["series"]]
        assert row["mean"] == pytest.approx(np.mean(mine))
        assert row["low"] < row["mean"] < row["high"]


def test_tooltips_reach_over_the_whole_axis_without_overlap():
    rows = series.jsv_rows(make_cells(jsv_vs_ratio(1)))
    wide, fields = series.hover_rows(rows)
    assert len(fields) == 8
    assert (wide[0]["from"], wide[-1]["to"]) == (0.0, 0.9)
    for row, following in itertools.pairwise(wide):
        assert row["to"] == following["from"] == pytest.approx((row["x"] + following["x"]) / 2)


def test_every_series_differs_in_more_than_colour():
    entries = list(series.retrained_series(make_cells(lr_effect())[:6]))
    assert len({(e.colour, e.dash) for e in entries}) == 6
    for repair in ("no repair", "OrthP", "scratch"):
        mine = [e for e in entries if e.label.startswith(repair)]
        assert len({e.dash for e in mine}) == len({e.shape for e in mine}) == 2


def test_colours_of_stages_are_the_same_everywhere_and_never_shared():
    cells = make_cells(lr_effect(1))
    colours = {cell.repair: cell.colour for cell in cells}
    assert colours == {"no repair": theme.UNTOUCHED, "OrthP": theme.BLUE, "scratch": theme.CONTROL}
    for network in ("mlp_7 linear", "mlp_7 relu"):
        own = [cell for cell in cells if cell.network == network]
        assert {
            s.label: s.colour for s in series.stages(own) if s.role == "repaired"
        }.items() <= colours.items()
        assert {e.label.split(",")[0]: e.colour for e in series.retrained_series(own)} == colours
    names = ["pruned", *(f"OrthP (gain {gain})" for gain in range(5))]
    assert len(set(theme.colours(names, {"pruned": theme.UNTOUCHED}).values())) == 6


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_text_and_marks_in_both_schemes():
    for dark, paper in ((False, "#fcfbf8"), (True, "#17181b")):
        axis = theme.config(dark=dark)["axis"]
        assert _contrast(axis["labelColor"], paper) >= 4.5
        assert _contrast(theme.config(dark=dark)["text"]["color"], paper) >= 7
    assert min(_contrast(colour, "#17181b") for colour in theme.DARK.values()) >= 4.5


@pytest.mark.parametrize("draw", ALL)
def test_figures_without_their_numbers_are_none(draw):
    bare = record(epochs=0)
    bare = replace(bare, networks=[replace(n, jsv_histogram=None) for n in bare.networks])
    assert draw(make_cells([bare])) is None


def test_histories_without_jsv_leave_only_the_accuracy():
    one = record()
    for row in one.network("retrained").history:
        del row["jsv_mean"]
    cells = make_cells([one])
    assert figures.jsv_per_epoch(cells) is None
    assert figures.accuracy_per_epoch(cells) is not None


def test_export_writes_every_figure_in_every_format(tmp_path):
    paths = export_figures([record(lr=1e-2), record(lr=1e-3)], tmp_path / "new")
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    assert {path.name.split("_mlp")[0] for path in paths} == {
        "singular_values",
        "final_accuracy",
        "accuracy_per_epoch",
        "jsv_per_epoch",
    }
    starts = {".pdf": b"%PDF-", ".svg": b"<svg", ".png": b"\x89PNG"}
    for path in paths:
        assert path.read_bytes().startswith(starts[path.suffix])
    svg = next(path for path in paths if path.name.startswith("accuracy") and path.suffix == ".svg")
    assert "no repair, LR 1e-3" in svg.read_text()


def sized(one, **left):
    """Return a record whose networks after pruning have these parts of the dense one's numbers."""
    dense = one.network("dense")
    changed = {key: round(part * getattr(dense, key)) for key, part in left.items()}
    return replace(one, networks=[n if n.role == "dense" else replace(n, **changed) for n in one.networks])


def test_accuracy_against_size_has_a_point_a_size_and_counts_parameters_where_masks_leave_all_flops():
    drawn = [record(ratio=r, lr=lr, seed=s) for r in (0.3, 0.8) for lr in (1e-2, 1e-3) for s in (0, 1)]
    ratios = [one.config["prune"]["ratio"] for one in drawn]
    small = [sized(one, flops=(1 - r) ** 2, nonzero=1 - r) for one, r in zip(drawn, ratios, strict=True)]
    rows, what = series.size_rows(make_cells(small))
    assert (what, len(rows)) == ("multiply-adds", 4)
    assert [row["x"] for row in rows] == pytest.approx([4, 4, 49, 49], rel=1e-3)
    accuracies = [
        100 * one.network("retrained").metrics["test_accuracy"]
        for one in small
        if (one.config["prune"]["ratio"], one.config["retrain"]["lr"]) == (0.3, 1e-2)
    ]
    (row,) = [r for r in rows if r["x"] > 40 and r["series"].endswith("1e-2")]
    assert row["mean"] == pytest.approx(sum(accuracies) / 2, rel=1e-4)
    masked = [sized(one, flops=1, nonzero=1 - r) for one, r in zip(drawn, ratios, strict=True)]
    rows, what = series.size_rows(make_cells(masked))
    assert (what, [row["x"] for row in rows]) == ("parameters", pytest.approx([20, 20, 70, 70], rel=1e-3))
    assert figures.accuracy_against_size(make_cells(masked)) is not None
    assert figures.accuracy_against_size(make_cells(masked[:4])) is None, "one size"


def test_export_of_a_ratio_study_has_the_papers_figure(tmp_path):
    studied = [one for one in jsv_vs_ratio(1) if one.config["prune"]["ratio"] in (0.3, 0.9)]
    names = {path.name for path in export_figures(studied, tmp_path, formats=("svg",))}
    assert "jsv_vs_ratio.svg" in names
    assert "singular_values_mlp_7_relu_ratio_0.9.svg" in names


def test_a_figure_for_a_column_is_as_wide_as_asked_and_has_no_title(tmp_path):
    for folder, how in (("page", {}), ("column", {"width": 250, "titled": False})):
        export_figures([record(lr=1e-2)], tmp_path / folder, formats=("svg",), **how)
    [name] = [p.name for p in (tmp_path / "page").glob("jsv_per_epoch*")]
    page, column = ((tmp_path / folder / name).read_text() for folder in ("page", "column"))
    widths = [float(re.search(r'width="([\d.]+)"', svg)[1]) for svg in (page, column)]
    assert widths[1] == 250 + widths[0] - 560, "the margins are the same"
    assert ("ratio 0.8" in page, "ratio 0.8" in column) == (True, False)


def test_export_refuses_an_unknown_format(tmp_path):
    with pytest.raises(IsopruneError, match=r"Unknown format 'jpg'\..* Known: pdf, svg, png\."):
        export_figures([record()], tmp_path, formats=("jpg",))
    assert not list(tmp_path.iterdir())


def test_export_to_a_place_that_cannot_be_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match="cannot be written"):
        export_figures([record()], tmp_path / "file" / "below", formats=("svg",))


def test_an_interval_ends_where_accuracy_does():
    """Seeds at 75, 96 and 95 %: the t interval reaches 117 %, its bar must not."""
    records = [record(seed=seed) for seed in range(3)]
    for one, accuracy in zip(records, (0.75, 0.96, 0.95), strict=True):
        one.network("retrained").metrics["test_accuracy"] = accuracy
    (row,), _ = series.final_rows(make_cells(records))
    assert row["high"] == 100
    assert row["low"] == pytest.approx(100 * (0.8866667 - 4.3026527 * 0.1184624 / math.sqrt(3)), abs=1e-3)
