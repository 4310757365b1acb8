"""A reproduction's records -> its page and the same in Markdown: claims, verdicts, numbers, scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isoprune.comparison.records import flatten, runs_of
from isoprune.experiment.config import Experiment
from isoprune.reporting import html, theme
from isoprune.reproduction import figures, tables
from isoprune.reproduction.claims import (
    CONFIRMED,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    Cells,
    Claim,
    Reproduction,
    Section,
    Verdict,
)
from isoprune.types.files import write_output
from isoprune.types.record import Record
from isoprune.types.tables import Table

_COLOUR = {CONFIRMED: theme.GREEN, NOT_CONFIRMED: theme.RED, NOT_TESTABLE: theme.ORANGE}
_SMOKE = "A smoke run shows that the study runs from end to end, and nothing about the claim."


def judged(reproduction: Reproduction, cells: Cells, scale: str) -> list[tuple[Claim, Verdict]]:
    """Return every claim with its verdict; a smoke run's is always that it cannot tell."""
    found = [(claim, claim.judge(reproduction, cells)) for claim in reproduction.claims]
    if scale != "smoke":
        return found
    return [(claim, Verdict(NOT_TESTABLE, _SMOKE, v.tests)) for claim, v in found]


def reproduction_page(
    reproduction: Reproduction,
    scale: str,
    records: Sequence[Record],
    *,
    study: Sequence[Experiment],
    paper: Sequence[Experiment],
    command: str,
    folder: Path,
) -> tuple[Path, list[tuple[Claim, Verdict]]]:
    """Write ``NAME.html`` and ``NAME.md`` into ``folder``; return the page's path and the verdicts.

    Args:
        records: Of the study; unfinished ones are counted, not shown.
        study: Its experiments; what is missing of them is told.
        paper: Those of the published recipe, if there is one.
        command: That makes the page again.

    Raises:
        IsopruneError: If no record is finished, or the files cannot be written.
    """
    finished = runs_of(records).whole
    cells = reproduction.cells(finished)
    verdicts = judged(reproduction, cells, scale)
    content = {
        "title": reproduction.title,
        "question": reproduction.question,
        "name": reproduction.name,
        "scale": scale,
        "command": command,
        "runs": _runs(finished, len(study)),
        "verdicts": [_claim_facts(claim, verdict) for claim, verdict in verdicts],
        "panels": [
            _panel(reproduction, cells, panel) for panel in tables.panels(cells) if reproduction.paneled
        ],
        "sections": [_section(n, one) for n, one in enumerate(reproduction.sections(cells))],
        "differences": tables.differences([t for _, v in verdicts for t in v.tests]),
        "published": bool(paper),
        "differs": tables.scale(paper, study) if paper else Table((), ()),
        "notes": (*reproduction.notes, *_missing(reproduction, finished, study)),
        "value": reproduction.value.name,
        "versions": sorted({str(record.environment.get("isoprune", "")) for record in finished}),
    }
    name = reproduction.name
    page = write_output(html.render("reproduction.html.j2", **content), folder / f"{name}.html", what="page")
    write_output(html.text("reproduction.md.j2", **content), folder / f"{name}.md", what="page")
    if content["sections"]:
        rows = (reproduction.rows or tables.every_run)(cells)
        write_output(tables.as_csv(rows), folder / f"{name}.csv", what="table")
    return page, verdicts


def _runs(finished: Sequence[Record], planned: int) -> str:
    # A network is made once for all its runs, and its time stands in every record.
    networks = {network.digest: network.seconds for record in finished for network in record.networks}
    minutes = (sum(networks.values()) + sum(sum(record.seconds.values()) for record in finished)) / 60
    missing = f" of {planned}" if len(finished) < planned else ""
    return f"{len(finished)}{missing} runs, {minutes:.0f} minutes of one core in all"


def _missing(
    reproduction: Reproduction, finished: Sequence[Record], study: Sequence[Experiment]
) -> list[str]:
    """Return which tables are not whole, in words."""
    places = [reproduction.place(flatten(e.as_dict())) for e in study]
    planned = Counter(place.panel for place in places if place is not None)
    there = Counter(dict.fromkeys(planned, 0))
    for place, seeds in reproduction.placed(finished).items():
        there[place.panel] += len(seeds)
    left = [f"{p} {there[p]} of {n} runs" for p, n in planned.items() if there[p] < n]
    return [f"Not all is finished: {'; '.join(left)}."] if left else []


def _section(number: int, section: Section) -> dict[str, Any]:
    chart = (f"section-{number}", section.figure, section.title, "bar: 95 % interval where there is one")
    return {
        "id": f"section-{number}-table",
        "title": section.title,
        "lead": section.lead,
        "table": section.table,
        "charts": html.charts(chart),
    }


def _claim_facts(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    slot = theme.PALETTE.index(_COLOUR[verdict.word])
    because = verdict.because[:1].upper() + verdict.because[1:]
    return {
        "text": claim.text,
        "source": claim.source,
        "word": verdict.word,
        "because": because.rstrip(".") + ".",
        "slot": slot,
    }


def _panel(reproduction: Reproduction, cells: Cells, panel: str) -> dict[str, Any]:
    published = reproduction.published.get(panel)
    table = tables.beside(reproduction, cells, panel)
    names = list(dict.fromkeys(row[0] for row in table.rows))
    number = tables.panels(cells).index(panel)
    charts = (
        []
        if not reproduction.charted
        else html.charts(
            (
                f"published-{number}",
                figures.published(reproduction, panel, names),
                "Published",
                "" if published is None else f"{published.title}; bar: standard deviation",
            ),
            (
                f"ours-{number}",
                figures.ours(reproduction, cells, panel, names),
                "Here",
                f"{panel}; bar: 95 % interval of the mean",
            ),
        )
    )
    return {
        "id": f"panel-{number}",
        "title": panel,
        "published": None if published is None else f"{published.title}. Source: {published.source}.",
        "table": table,
        "charts": charts,
    }
