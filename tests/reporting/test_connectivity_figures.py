"""Lines to retrained networks on a page: their means against a recount, rounds, and what is left out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from isoprune.reporting import connectivity_figures, export_figures, report, theme
from isoprune.reporting.study import make_cells
from isoprune.types.record import ErrorPath
from reporting.records import record


def path(*errors: float | None, **more) -> ErrorPath:
    ends = (errors[0] + errors[-1]) / 2
    barrier = None if None in errors else max(errors) - ends
    return ErrorPath(metric="accuracy", errors=list(errors), barrier=barrier, above_line=0.0, **more)


def rounds(seed: int, *paths: ErrorPath | None, kind: str = "barrier", **config):
    """Return a record with a retrained network for every path, round after round."""
    one = record(seed=seed, **config)
    *others, last = one.networks
    made = [
        replace(last, step=3 + i, round=i + 1, digest=f"r{i}", **{kind: found})
        for i, found in enumerate(paths)
    ]
    return replace(one, networks=[*others, *made])


def charts(cells):
    return list(connectivity_figures.drawn(connectivity_figures.lines(cells)))


def table(cells):
    made = connectivity_figures.barriers(connectivity_figures.lines(cells))
    return [dict(zip(made.columns, row, strict=True)) for row in made.rows]


def test_a_curve_is_the_mean_over_seeds_of_every_round():
    cells = make_cells([
        rounds(0, path(0.2, 0.6, 0.1), path(0.1, 0.1, 0.1)),
        rounds(1, path(0.4, 0.4, 0.3), path(0.3, 0.2, 0.1)),
    ])  # fmt: skip
    [(kind, name, figure)] = charts(cells)
    assert (kind.field, name.partition(",")[0]) == ("barrier", "mlp_7 linear")
    drawn = {}
    for row in figure.tables["rows"]:
        drawn.setdefault(row["path"], []).append((row["place"], row["error"]))
    # Barriers of the seeds: 45 and 5 points; of the second round 0 and 10.
    assert list(drawn) == [
        "retrained, round 1: barrier 25.0 points",
        "retrained, round 2: barrier 5.0 points",
    ]
    first, second = drawn.values()
    assert [place for place, _ in first] == [0, 0.5, 1]
    assert [error for _, error in first] == pytest.approx([30, 50, 20])
    assert [error for _, error in second] == pytest.approx([20, 15, 10])
    assert [row["to"] for row in table(cells)] == ["retrained, round 1", "retrained, round 2"]
    assert [row["barrier"] for row in table(cells)] == ["25.0 ± 28.3", "5.0 ± 7.1"]
    assert table(cells)[0]["error at 0"] == "30.0 ± 14.1"


def test_settings_have_charts_of_their_own():
    cells = make_cells([rounds(0, path(0.2, 0.3, 0.2), lr=lr, kind="instability") for lr in (1e-2, 1e-3)])
    assert [kind.field for kind, _, _ in charts(cells)] == ["instability"] * 2
    assert len({name for _, name, _ in charts(cells)}) == 2
    assert [row["from"] for row in table(cells)] == ["a copy in another order"] * 2


def test_more_rounds_than_colours_differ_by_their_dashes():
    cells = make_cells([rounds(0, *[path(0.2, 0.3, 0.2)] * 10)])
    [(_, _, figure)] = charts(cells)
    encoding = figure.chart.to_dict()["layer"][0]["encoding"]
    scales = [encoding[channel]["scale"] for channel in ("color", "strokeDash")]
    looks = list(zip(scales[0]["range"], map(tuple, scales[1]["range"]), strict=True))
    assert len(set(looks)) == len(looks) == 10
    assert set(scales[0]["range"]) <= set(theme.PALETTE), "colours that the dark page swaps"


def test_a_loss_has_its_own_unit():
    loss = ErrorPath(metric="loss", loss=True, errors=[0.5, 2.5, 1.5], barrier=1.5, above_line=1.5)
    cells = make_cells([rounds(0, loss)])
    [(_, _, figure)] = charts(cells)
    assert [row["error"] for row in figure.tables["rows"]] == [0.5, 2.5, 1.5]
    assert table(cells)[0]["barrier"] == "1.50"


def test_what_is_refused_or_not_finite_is_not_drawn():
    cells = make_cells([rounds(0, ErrorPath(refused="no line"), path(0.2, None, 0.1), None)])
    assert charts(cells) == table(cells) == []


def test_the_page_and_the_files_have_them_only_where_they_were_measured(tmp_path):
    plain, measured = [record()], [rounds(0, path(0.2, 0.6, 0.1))]
    pages = [report(records, tmp_path / f"{i}.html").read_text(encoding="utf-8")
             for i, records in enumerate((plain, measured))]  # fmt: skip
    for words in ("Error on the line from the network before", '<section id="barriers"'):
        assert [words in page for page in pages] == [False, True]
    names = {file.name.split("_mlp")[0] for file in export_figures(measured, tmp_path / "figures", ("svg",))}
    assert "error_between_rounds" in names
    assert "error_between_copies" not in names
