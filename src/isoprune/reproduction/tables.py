"""The tables of a reproduction: published beside ours, every difference, what differs in scale, networks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import flatten, written
from isoprune.comparison.records.frame import numbers_of
from isoprune.comparison.statistics import summarize
from isoprune.experiment.config import Experiment
from isoprune.reproduction.claims import Cells, Place, Published, Reproduction, Test, Value
from isoprune.reproduction.dry_runs import DryRun
from isoprune.reproduction.judges import format_difference, format_interval, format_p, format_published
from isoprune.types.record import ROLES
from isoprune.types.tables import Table

_LISTED = 6  # values of a key that are written out


def panels(cells: Cells) -> list[str]:
    """Return the networks' tables, in the order of the records."""
    return list(dict.fromkeys(place.panel for place in cells))


def beside(reproduction: Reproduction, cells: Cells, panel: str) -> Table:
    """Return the published numbers of a panel and ours, a line each for every row: mean (std), n = seeds."""
    published = reproduction.published.get(panel)
    ours = [place for place in cells if place.panel == panel]
    columns = _merged(published.columns if published else (), (p.column for p in ours))
    rows = []
    for row in _merged(published.rows if published else (), (p.row for p in ours)):
        if published is not None and row in published.rows:
            cells_of_row = [_published(published, row, c, value=reproduction.value) for c in columns]
            rows.append((row, "published", *cells_of_row, ""))
        if any(place.row == row for place in ours):
            seeds = [len(cells.get(Place(panel, row, c), ())) for c in columns]
            cells_of_row = [_ours(reproduction.value, cells.get(Place(panel, row, c), {})) for c in columns]
            rows.append((row, "here", *cells_of_row, _counts(seeds)))
    return Table((f"method, by {reproduction.columns}", "", *columns, "n"), tuple(rows), words=2)


def _merged(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """Return both without repetition; numbers in their order, if all begin with one."""
    found = list(dict.fromkeys([*first, *second]))
    try:
        return sorted(found, key=lambda word: float(word.split(" ")[0].removesuffix("x")))
    except ValueError:
        return found


def _published(table: Published, row: str, column: str, *, value: Value) -> str:
    mean, std = table.mean(row, column), table.std(row, column)
    if mean is None:
        return text.MISSING
    printed = f"{mean:.2f}" if value.percent else f"{mean:g}"
    return printed if std is None else f"{printed} ({std:.2f})"


def _ours(value: Value, seeds: Any) -> str:
    found = summarize(value.of(record) for record in seeds.values())
    if not found.n:
        return text.MISSING
    if value.percent:
        spread = f" ({100 * found.std:.2f})" if found.n > 1 else ""
        return f"{100 * found.mean:.2f}{spread}"
    return text.number(found.mean) + (f" ({text.number(found.std)})" if found.n > 1 else "")


def _counts(seeds: Sequence[int]) -> str:
    found = sorted({n for n in seeds if n})
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


_NUMBERS = ("test_accuracy", "jsv.mean", "nonzero", "flops", "seconds", "peak_memory")


def every_run(cells: Cells) -> Sequence[Mapping[str, Any]]:
    """Return a row for every run: where it stands, its seed, and what each network measures."""
    rows = [
        {"table": p.panel, "method": p.row, "at": p.column, "seed": seed, **numbers_of(record)}
        for p, seeds in cells.items()
        for seed, record in seeds.items()
    ]
    roles = [f"{role}.{number}" for role in ROLES for number in _NUMBERS]
    heads = ["table", "method", "at", "seed", *(one for one in roles if any(one in row for row in rows))]
    return [{head: row.get(head) for head in heads} for row in rows]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, six digits of each number; a row that lacks a column has nothing there."""
    heads = dict.fromkeys(head for row in rows for head in row)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        values = (row.get(head) for head in heads)
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    return file.getvalue()


def differences(tests: Sequence[Test]) -> Table:
    """Return every difference that a claim was judged by."""
    rows = [
        (
            t.panel,
            f"{t.first} − {t.second}",
            t.column or text.MISSING,
            t.setup,
            str(t.n),
            format_difference(t),
            format_interval(t),
            format_p(t.corrected),
            format_published(t),
        )
        for t in tests
    ]
    head = ("network", "difference", "at", "setup", "n", "mean", "95 % interval", "p (Holm)", "published")
    return Table(head, tuple(rows), words=4)


def scale(paper: Sequence[Experiment], here: Sequence[Experiment]) -> Table:
    """Return the keys in which a study is not the paper's, with the values of both."""
    values = [_values(experiments) for experiments in (paper, here)]
    keys = dict.fromkeys((*values[0], *values[1]))
    rows = [
        (key, *(_listed(one.get(key, [])) for one in values))
        for key in keys
        if set(values[0].get(key, [])) != set(values[1].get(key, []))
    ]
    return Table(("key", "paper", "here"), tuple(rows), words=3)


def _values(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for experiment in experiments:
        for key, value in flatten(experiment.as_dict()).items():
            if value is not None:
                found.setdefault(key, {})[written(value)] = None
    seeds = found.pop("seed", {})
    return {"seeds": [str(len(seeds))], **{key: list(values) for key, values in found.items()}}


def _listed(values: Sequence[str]) -> str:
    more = f", and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return (", ".join(values[:_LISTED]) or text.MISSING) + more


def networks(dry_runs: Sequence[DryRun]) -> Table:
    """Return what pruning makes of every network: removed weights, speed-up, the proof's largest error."""
    rows = [
        (
            one.experiment.model.name,
            written(_ratio(one.experiment)),
            text.count(one.result.costs.dense.parameters),
            text.count(one.result.costs.pruned.parameters),
            f"{100 * one.removed:.2f}",
            f"{one.speedup:.2f}x",
            text.number(one.result.proof.max_abs_error),
        )
        for one in dry_runs
    ]
    head = ("network", "ratio", "parameters", "pruned", "weights removed %", "speed-up", "max error")
    return Table(head, tuple(rows), words=2)


def _ratio(experiment: Experiment) -> Any:
    ratio = experiment.prune.ratio
    return ", ".join(f"{k}: {v:g}" for k, v in ratio.items()) if isinstance(ratio, dict) else ratio
