"""Cells -> tables, for the terminal, Markdown and the page; accuracies in percent, mean ± std over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting.pivots import Table, markdown
from isoprune.reporting.study import Cell, apart, by_seed, make_cells, unique, value


def results(cells: Sequence[Cell]) -> Table:
    """Return the table of the study: one row per setting."""
    # A column that says the same of every row of a single-criterion study says nothing.
    optional = {
        "criterion": len(unique(cell.criterion for cell in cells)) > 1,
        "variant": any(cell.extra for cell in cells),
    }
    cells = apart(cells)[0] or cells  # with both, budgets of steps have a table of their own
    named = ["network", *(key for key, wanted in optional.items() if wanted), "repair"]
    rows = []
    for cell in cells:
        words = {
            "network": cell.network,
            "criterion": cell.criterion,
            "variant": cell.extra or text.MISSING,
            "repair": cell.repair,
        }
        rows.append((*(words[key] for key in named), *_numbers(cell)))
    head = ("ratio", "LR", "n", "dense %", "JSV pruned → repaired", "before %", "after %", "trainability %")
    return Table((*named, *head), tuple(rows), words=len(named))


def _numbers(cell: Cell) -> tuple[str, ...]:
    stage = {
        name: summarize(by_seed([cell], "stages", name, "test_accuracy").values())
        for name in ("dense", "repaired", "retrained")
    }
    jsv = [_jsv(cell, name) for name in ("pruned", "repaired")]
    return (
        text.plain(cell.ratio),
        text.learning_rate(cell.lr) if cell.lr is not None else text.MISSING,
        str(len(cell.records)),
        text.percent(stage["dense"], spread=False),
        jsv[0] if cell.untouched else f"{jsv[0]} → {jsv[1]}",
        text.percent(stage["repaired"], spread=False),
        text.percent(stage["retrained"]),
        text.percent(summarize(by_seed([cell], "trainability_accuracy").values())),
    )


def _jsv(cell: Cell, stage: str) -> str:
    found = summarize(by_seed([cell], "stages", stage, "jsv", "mean").values())
    return text.number(found.mean)


def sizes(cells: Sequence[Cell]) -> Table:
    """Return what was removed: asked and realised ratios, parameters, FLOPs, the proof's largest error."""
    rows = []
    for network, criterion, ratio in unique((cell.network, cell.criterion, cell.ratio) for cell in cells):
        here = [c for c in cells if (c.network, c.criterion, c.ratio) == (network, criterion, ratio)]
        error = summarize(by_seed(here, "verification", "max_abs_error").values())
        rows.append(
            (
                network,
                criterion or text.MISSING,
                text.plain(ratio),
                *(_share(_over_seeds(here, "ratios", kind)) for kind in ("filters", "weights", "flops")),
                *(_shrunk(here, kind) for kind in ("parameters", "flops")),
                text.number(error.high),
            )
        )
    head = ("asked", "filters %", "weights %", "FLOPs %", "parameters", "FLOPs", "max error")
    return Table(("network", "criterion", *head), tuple(rows), words=2)


def groups(cells: Sequence[Cell]) -> Table:
    """Return the filters removed from every group, mean over seeds."""
    rows = []
    for network, criterion, ratio in unique((cell.network, cell.criterion, cell.ratio) for cell in cells):
        here = [c for c in cells if (c.network, c.criterion, c.ratio) == (network, criterion, ratio)]
        found: dict[str, dict[int, Mapping[str, Any]]] = {}
        for record in (record for cell in here for record in cell.records):
            for group in (record.get("ratios") or {}).get("groups") or []:
                found.setdefault(str(group.get("name")), {})[int(record["config"].get("seed", 0))] = group
        for name, seeds in found.items():
            mean = {
                key: summarize(value(dict(group), key) for group in seeds.values()).mean
                for key in ("channels", "removed", "ratio")
            }
            removed = text.MISSING if math.isnan(mean["removed"]) else f"{mean['removed']:.4g}"
            rows.append(
                (network, name, text.plain(ratio), text.count(mean["channels"]), removed, _share_of(mean))
            )
    return Table(("network", "group", "asked", "filters", "removed", "removed %"), tuple(rows), words=2)


def latency(records: Sequence[Mapping[str, Any]]) -> Table:
    """Return what one forward takes, dense and pruned, by backend, of the records in which it was timed."""
    rows = []
    for timed in (row for record in records for row in record.get("latency") or ()):
        # A record from the disk has null where there was no number: the dense network did not run.
        gains = [text.MISSING if timed[k] is None else text.number(timed[k]) for k in ("gain", "flops_gain")]
        if timed["problem"]:
            rows.append(
                (timed["model"], timed["backend"], timed["problem"], text.MISSING, text.MISSING, gains[1])
            )
            continue
        spread = f"{text.number(timed['lower_ms'])} to {text.number(timed['upper_ms'])}"
        rows.append((timed["model"], timed["backend"], text.number(timed["median_ms"]), spread, *gains))
    return Table(("network", "backend", "median ms", "quartiles", "gain", "FLOPs gain"), tuple(rows), words=2)


def _share_of(mean: Mapping[str, float]) -> str:
    return _share(summarize([mean["ratio"]]))


def _over_seeds(cells: Sequence[Cell], *path: str) -> Summary:
    return summarize(by_seed(cells, *path).values())


def _share(summary: Summary) -> str:
    return text.MISSING if summary.n == 0 else f"{100 * summary.mean:.1f}"


def _shrunk(cells: Sequence[Cell], kind: str) -> str:
    ends = [_over_seeds(cells, "stages", stage, kind).mean for stage in ("dense", "pruned")]
    return f"{text.count(ends[0])} → {text.count(ends[1])}"


def markdown_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the study in Markdown, numbers aligned to the right.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    return markdown(results(make_cells([dict(record) for record in records])))


# Two lines a heading: the table fits 80 columns.
_SHORT = {
    "JSV pruned → repaired": "JSV pruned\n→ repaired",
    "dense %": "dense\n%",
    "before %": "before\n%",
    "after %": "after\n%",
    "trainability %": "train-\nability",
}


def terminal_table(records: Sequence[Mapping[str, Any]]) -> RichTable:
    """Return the table of the study for the terminal: networks as headings, spread of the accuracy alone.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    table = results(make_cells([dict(record) for record in records]))
    rich = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, column in enumerate(table.columns[1:], start=1):
        numeric = number >= table.words
        heading = Text(_SHORT.get(column, column))
        rich.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    network = None
    for name, *cells in table.rows:
        if name != network:
            if network is not None:
                rich.add_section()
            # Text, not str: a name such as "[red]" is not markup.
            rich.add_row(Text(name, style="bold"))
            network = name
        *numbers, trainability = (word.replace(" ± ", "±").replace(" → ", "→") for word in cells)
        rich.add_row(*(Text(word) for word in numbers), Text(trainability.split("±")[0]))
    return rich
