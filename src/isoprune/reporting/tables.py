"""Cells -> tables, for the terminal, Markdown and the page; accuracies in percent, mean ± std over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from isoprune.comparison import text
from isoprune.reporting.study import Cell, grouped, make_cells, over_seeds, split_by_budget, unique
from isoprune.types.record import ROLES, Record, UnitsRemoved
from isoprune.types.tables import Table


def results(cells: Sequence[Cell]) -> Table:
    """Return the table of the study: one row per setting."""
    # A column that says the same of every row of a single-criterion study says nothing.
    optional = {
        "criterion": len(unique(cell.criterion for cell in cells)) > 1,
        "variant": any(cell.extra for cell in cells),
    }
    cells = split_by_budget(cells)[0] or cells  # with both, budgets of steps have a table of their own
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
    accuracy = {role: over_seeds([cell], f"{role}.test_accuracy") for role in ROLES}
    jsv = [text.number(over_seeds([cell], f"{role}.jsv.mean").mean) for role in ("pruned", "repaired")]
    return (
        text.plain(cell.ratio),
        text.learning_rate(cell.lr) if cell.lr is not None else text.MISSING,
        str(len(cell.records)),
        text.percent(accuracy["dense"], spread=False),
        jsv[0] if cell.untouched else " → ".join(jsv),
        text.percent(accuracy["repaired"], spread=False),
        text.percent(accuracy["retrained"]),
        text.percent(over_seeds([cell], "trainability_accuracy")),
    )


def _prunings(cells: Sequence[Cell]) -> Iterator[tuple[tuple[str, str, str], list[Cell]]]:
    """Yield network, criterion and ratio in words, with the cells that were pruned in this way."""
    for (network, criterion, ratio), here in grouped(cells, "network", "criterion", "ratio").items():
        yield (network, criterion or text.MISSING, text.plain(ratio)), here


def sizes(cells: Sequence[Cell]) -> Table:
    """Return what was removed: fractions that went, parameters, FLOPs, the proof's largest error."""
    # Masks leave the parameters in their place: then those that are not zero tell.
    masked = any(cell.value("pruned.nonzero") != cell.value("pruned.parameters") for cell in cells)
    counts = ("parameters", *(["nonzero"] if masked else []), "flops")
    rows = [
        (
            *pruning,
            *(
                _share(over_seeds(here, f"removed.{kind}").mean)
                for kind in ("filters", "parameters", "flops")
            ),
            *(_shrunk(here, kind) for kind in counts),
            text.number(over_seeds(here, "proof.max_abs_error").high),
        )
        for pruning, here in _prunings(cells)
    ]
    head = ["filters %", "parameters %", "FLOPs %", *counts, "max error"]
    head[-2] = "FLOPs"
    return Table(("network", "criterion", "ratio", *head), tuple(rows), words=2)


def groups(cells: Sequence[Cell]) -> Table:
    """Return the units removed from every group of them, mean over seeds."""
    rows, several = [], len(unique(cell.criterion for cell in cells)) > 1
    for (network, criterion, ratio), here in _prunings(cells):
        named = (network, *([criterion] if several else []))
        groups: dict[str, dict[int, UnitsRemoved]] = {}
        for cell in here:
            for row, record in zip(cell.rows, cell.records, strict=True):
                for units in record.removals[-1].units if record.removals else ():
                    groups.setdefault(units.name, {})[cell.runs.seeds[row]] = units
        for name, seeds in groups.items():
            size = fmean(units.size for units in seeds.values())
            removed = fmean(units.removed for units in seeds.values())
            rows.append((*named, name, ratio, text.count(size), f"{removed:.4g}", _share(removed / size)))
    head = (
        "network",
        *(["criterion"] if several else []),
        "units",
        "ratio",
        "filters",
        "removed",
        "removed %",
    )
    return Table(head, tuple(rows), words=len(head) - 4)


def latency(timings: Iterable[Mapping[str, Any]]) -> Table:
    """Return what one forward takes, dense and pruned, by backend."""
    rows = []
    for timed in timings:
        numbers = (timed["median_ms"], timed["lower_ms"], timed["upper_ms"], timed["gain"])
        # A record from the disk has null where there was no number: the dense network did not run.
        median, lower, upper, gain, flops_gain = (
            text.MISSING if number is None else text.number(number)
            for number in (*numbers, timed["flops_gain"])
        )
        if timed["problem"]:
            median, spread, gain = timed["problem"], text.MISSING, text.MISSING
        else:
            spread = f"{lower} to {upper}"
        rows.append((timed["model"], timed["backend"], median, spread, gain, flops_gain))
    return Table(("network", "backend", "median ms", "quartiles", "gain", "FLOPs gain"), tuple(rows), words=2)


def _share(fraction: float) -> str:
    return text.MISSING if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _shrunk(cells: Sequence[Cell], kind: str) -> str:
    ends = [over_seeds(cells, f"{role}.{kind}").mean for role in ("dense", "pruned")]
    return f"{text.count(ends[0])} → {text.count(ends[1])}"


# Two lines a heading: the table fits 80 columns.
_SHORT = {
    "JSV pruned → repaired": "JSV pruned\n→ repaired",
    "dense %": "dense\n%",
    "before %": "before\n%",
    "after %": "after\n%",
    "trainability %": "train-\nability",
}


def terminal_table(records: Sequence[Record]) -> RichTable:
    """Return the table of the study for the terminal: networks as headings, spread of the accuracy alone.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    table = results(make_cells(records))
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
