"""Records -> one HTML file that tells the story and works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import runs_of
from isoprune.reporting import figures, frontier, html, series, study_settings, tables, theme
from isoprune.reporting.schedule_figures import used, used_series
from isoprune.reporting.sentences import findings
from isoprune.reporting.study import Cell, apart, make_cells, over_seeds, unique
from isoprune.types.record import Record


def report(records: Sequence[Record], out: Path, *, title: str | None = None) -> Path:
    """Write the page on ``records`` and return its path.

    The file holds everything it shows, scripts included, asks nothing of the network, and is
    written whole or not at all.

    Args:
        records: As ``isoprune run`` and ``study`` write them; unfinished ones are counted, not shown.
        out: The file (``.html``), or a directory for its ``index.html``; made if missing.
        title: The heading; by default the study's name.

    Raises:
        IsopruneError: If no record is finished, one is not a record, or ``out`` cannot be written.
    """
    page = _render(records, title=title)
    file = out if out.suffix == ".html" else out / "index.html"
    return html.write(page, file)


def _render(records: Sequence[Record], *, title: str | None) -> str:
    study = runs_of(records)
    cells = make_cells(study)
    names = unique(record.name for record in records)
    sections = [
        _section(f"network-{number}", [cell for cell in cells if cell.network == network])
        for number, network in enumerate(unique(cell.network for cell in cells), start=1)
    ]
    sections += [
        _frontier(f"frontier-{number}", [cell for cell in cells if cell.network == network])
        for number, network in enumerate(unique(c.network for c in apart(cells)[1]), start=1)
    ]
    overview = _overview(cells)
    rates = html.chart(
        "rates",
        used(cells),
        "Learning rates of retraining",
        "of every epoch its last; equal ones are one line",
    )
    drawn = [chart for section in [overview, *sections] for chart in section["charts"]]
    charts = {chart["id"]: chart.pop("spec") for chart in [*([rates] if rates else []), *drawn]}
    return html.render(
        "page.html.j2",
        charts,
        title=title or text.listed(names),
        count=len(study),
        networks=len(unique(cell.network for cell in cells)),
        unfinished=study.unfinished,
        retrained=any(cell.lr is not None for cell in cells),
        question=study_settings.question(cells),
        setup=study_settings.setup(cells),
        rates=rates,
        rates_legend=_legend(used_series(cells)),
        findings=[*findings(cells), *frontier.findings(cells)],
        overview=overview,
        sections=sections,
        results=tables.results(cells),
        budgets=frontier.table(cells) if apart(cells)[1] else None,
        sizes=tables.sizes(cells),
        latency=tables.latency(records),
        groups=tables.groups(cells),
        configuration=study_settings.configuration(cells),
        environment=study_settings.environment(cells),
        runs=study_settings.runs(cells),
        versions=unique(str(record.environment.get("isoprune", "")) for record in records),
    )


def _overview(cells: Sequence[Cell]) -> dict[str, Any]:
    chart = figures.jsv_against_ratio(cells, legend=False)
    charts = [
        html.chart("jsv-ratio", chart, "Before retraining", "dense at ratio 0; band: lowest to highest seed")
    ]
    return {"id": "ratio", "charts": [c for c in charts if c], "legend": _legend(series.ratio_series(cells))}


def _section(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template needs of one network."""
    ratios = sorted(unique(cell.ratio for cell in cells))
    shown = max(cell.ratio for cell in [c for c in cells if c.lr is not None] or cells)
    charts = [
        html.chart(
            f"{name}-sigma",
            figures.singular_values(cells),
            "Singular values of the Jacobian",
            "every stage as high as its fullest bin; dashed: σ\u00a0=\u00a01, isometry",
        ),
        html.chart(
            f"{name}-final",
            figures.final_accuracy(cells),
            "Where retraining ends",
            "point: mean; ticks: seeds; bar: 95 % interval of the mean",
        ),
        html.chart(
            f"{name}-accuracy",
            figures.accuracy_per_epoch(cells, legend=False),
            "Accuracy while retraining",
            "mean over seeds; band: lowest to highest seed",
        ),
        html.chart(
            f"{name}-jsv",
            figures.jsv_per_epoch(cells, legend=False),
            "Mean JSV while retraining",
            "mean over seeds; band: lowest to highest seed",
        ),
    ]
    return {
        "id": name,
        "title": cells[0].network,
        "ratios": [text.plain(ratio) for ratio in ratios],
        "shown": text.plain(shown),
        "stages": [_card(stage) for stage in sorted(series.stages(cells), key=lambda s: s.ratio)],
        "charts": [chart for chart in charts if chart],
        "legend": _legend(series.retrained_series(cells)),
    }


def _frontier(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template needs of one network's accuracy against the budget of retraining."""
    cells = apart(cells)[1]
    ratios = [text.plain(ratio) for ratio in sorted(unique(cell.ratio for cell in cells))]
    chart = html.chart(
        f"{name}-accuracy",
        figures.accuracy_against_budget(cells, legend=False),
        "Accuracy against the budget of retraining",
        "each budget trained on its own; rates chosen on validation data; band: lowest to highest seed",
    )
    return {
        "id": name,
        "title": f"{cells[0].network}, by budget",
        "ratios": ratios,
        "shown": ratios[-1],
        "stages": [],
        "charts": [chart] if chart else [],
        "legend": _legend(dict.fromkeys(frontier.rows(cells)[1])),
    }


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
