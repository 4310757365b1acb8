"""Records -> one HTML file with results, figures and settings, which works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import runs_of
from isoprune.reporting import (
    connectivity_figures,
    figures,
    frontier,
    html,
    series,
    study_settings,
    tables,
    theme,
)
from isoprune.reporting.schedule_figures import used, used_series
from isoprune.reporting.sentences import findings
from isoprune.reporting.study import Cell, grouped, make_cells, over_seeds, split_by_budget, unique
from isoprune.types.files import write_output
from isoprune.types.record import Record


def report(
    records: Sequence[Record], out: str | Path, *, title: str | None = None, lead: str | None = None
) -> Path:
    """Write the page on ``records`` and return its path.

    The file holds everything it shows, scripts included, asks nothing of the network, and is
    written whole or not at all.

    Args:
        records: As ``isoprune run`` and ``study`` write them; unfinished ones are counted, not shown.
        out: The file (``.html``), or a directory for its ``index.html``; made if missing.
        title: The heading; by default the study's name.
        lead: What stands below it; by default the question that such records answer.

    Raises:
        IsopruneError: If no record is finished, one is not a record, or ``out`` cannot be written.
    """
    page = _render(records, title=title, lead=lead)
    out = Path(out)
    file = out if out.suffix == ".html" else out / "index.html"
    return write_output(page, file, what="page")


def _render(records: Sequence[Record], *, title: str | None, lead: str | None) -> str:
    study = runs_of(records)
    cells = make_cells(study)
    names = unique(record.name for record in records)
    networks = grouped(cells, "network")
    budgets = grouped(split_by_budget(cells)[1], "network")
    sections = [_section(f"network-{i}", own) for i, own in enumerate(networks.values(), start=1)]
    sections += [_frontier(f"frontier-{i}", own) for i, own in enumerate(budgets.values(), start=1)]
    rates = html.charts(
        (
            "rates",
            used(cells),
            "Learning rates of retraining",
            "of every epoch its last; equal ones are one line",
        )
    )
    return html.render(
        "page.html.j2",
        title=title or text.listed(names),
        lead=lead,
        count=len(study),
        networks=len(networks),
        unfinished=study.unfinished,
        retrained=any(cell.lr is not None for cell in cells),
        repaired=any(not cell.untouched and not cell.scratch for cell in cells),
        rates_compared=len(unique(cell.lr for cell in cells if cell.lr is not None)) > 1,
        setup=study_settings.setup(cells),
        rates=rates[0] if rates else None,
        rates_legend=_legend(used_series(cells)),
        findings=[*findings(cells), *frontier.findings(cells)],
        overview=_overview(cells),
        sections=sections,
        results=tables.results(cells),
        budgets=frontier.table(cells) if budgets else None,
        barriers=_barriers(cells),
        sizes=tables.sizes(cells),
        latency=tables.latency(row for record in records for row in record.latency),
        groups=tables.groups(cells),
        configuration=study_settings.configuration(cells),
        environment=study_settings.environment(cells),
        runs=study_settings.runs(cells),
        versions=unique(str(record.environment.get("isoprune", "")) for record in records),
    )


def _overview(cells: Sequence[Cell]) -> dict[str, Any]:
    chart = figures.jsv_against_ratio(cells)
    note = "dense at ratio 0; band: lowest to highest seed"
    charts = html.charts(("jsv-ratio", chart, "Before retraining", note))
    return {"id": "ratio", "charts": charts, "legend": _legend(series.ratio_series(cells))}


def _barriers(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template needs of the lines to retrained networks."""
    lines = connectivity_figures.lines(cells)
    made = [
        (f"line-{i}", figure, f"Error on the line from {kind.start}", f"{name}; mean over seeds")
        for i, (kind, name, figure) in enumerate(connectivity_figures.drawn(lines), start=1)
    ]
    return {"table": connectivity_figures.barriers(lines), "charts": html.charts(*made)}


def _section(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template needs of one network."""
    ratios = sorted(unique(cell.ratio for cell in cells))
    shown = max(cell.ratio for cell in [c for c in cells if c.lr is not None] or cells)
    cards = sorted(series.stages(cells), key=lambda s: s.ratio)
    if len(cells) == 1 and cells[0].lr is not None:  # of several settings the chart says where each ends
        cards.append(series.Stage("retrained", "retrained", theme.CONTROL, cells[0].ratio, cells))
    return {
        "id": name,
        "title": cells[0].network,
        "ratios": [text.plain(ratio) for ratio in ratios],
        "shown": text.plain(shown),
        "stages": [_card(stage) for stage in cards],
        "charts": _charts(name, cells, (figures.BY_SIZE, *figures.OF_A_NETWORK)),
        "legend": _legend(series.retrained_series(cells)),
    }


def _frontier(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template needs of one network's accuracy against the budget of retraining."""
    ratios = [text.plain(ratio) for ratio in sorted(unique(cell.ratio for cell in cells))]
    return {
        "id": name,
        "title": f"{cells[0].network}, by budget",
        "ratios": ratios,
        "shown": ratios[-1],
        "stages": [],
        "charts": _charts(name, cells, [figures.BY_BUDGET]),
        "legend": _legend(dict.fromkeys(frontier.rows(cells)[1])),
    }


def _charts(name: str, cells: Sequence[Cell], kinds: Sequence[figures.FigureKind]) -> list[html.Chart]:
    return html.charts(*((f"{name}-{kind.place}", kind.make(cells), kind.title, kind.note) for kind in kinds))


def _legend(entries: Mapping[series.Series, object]) -> list[dict[str, Any]]:
    return [
        {
            "label": entry.label,
            "slot": theme.PALETTE.index(entry.colour),
            "dash": " ".join(str(length) for length in entry.dash) if entry.dash[1] else "",
        }
        for entry in entries
    ]


def _card(stage: series.Stage) -> dict[str, Any]:
    """Return the numbers of a stage."""
    return {
        "ratio": text.plain(stage.ratio),
        "label": stage.label,
        "slot": theme.PALETTE.index(stage.colour),
        "jsv": text.number(over_seeds(stage.cells, f"{stage.role}.jsv.mean").mean),
        "accuracy": text.percent(over_seeds(stage.cells, f"{stage.role}.test_accuracy"), spread=False),
    }
