"""Cells -> the rows that the figures draw: means and ranges over seeds, never raw series."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting import theme
from isoprune.reporting.statistics import pool_histograms
from isoprune.reporting.study import Cell, by_seed, grouped, over_seeds, unique
from isoprune.types.record import Record

Row = dict[str, Any]
# Zero has no logarithm: a JSV this small is drawn here, with its true value in the tooltip.
FLOOR = 1e-16
PRUNED = "pruned"


@dataclass(frozen=True)
class Series:
    """One entry of a legend."""

    label: str
    colour: str
    dash: tuple[int, ...]
    shape: str


def retrained_series(cells: Sequence[Cell]) -> dict[Series, list[Cell]]:
    """Return one network's legend of retraining: the repair is the colour, the learning rate the dash."""
    done = [cell for cell in cells if cell.lr is not None and cell.steps is None]
    criteria = unique(cell.criterion for cell in done)
    details = unique((cell.lr, cell.extra) for cell in done)
    found: dict[Series, list[Cell]] = {}
    drawn: dict[str, Series] = {}
    for cell in done:
        method, detail = _method(cell, criteria), (cell.lr, cell.extra)
        label = ", ".join(filter(None, [method, f"LR {text.learning_rate(cell.lr or 0.0)}", cell.extra]))
        if label not in drawn:
            drawn[label] = _free(list(drawn.values()), cell.colour, details.index(detail), label)
        found.setdefault(drawn[label], []).append(cell)
    return found


def _free(taken: Sequence[Series], colour: str, kind: int, label: str) -> Series:
    """Return a series whose colour, dash and shape no other one has: there are more methods than colours."""
    kinds = (_series(label, colour, kind + more) for more in range(len(taken) + 1))
    styles = {(s.colour, s.dash) for s in taken}
    return next(
        (s for s in kinds if (s.colour, s.dash) not in styles), _series(label, colour, kind + len(taken))
    )


def ratio_series(cells: Sequence[Cell]) -> dict[Series, list[Cell]]:
    """Return the legend of JSV against ratio: the network is the colour; pruned or the repair is the dash."""
    networks, criteria = (unique(getattr(cell, key) for cell in cells) for key in ("network", "criterion"))
    repairs = unique(cell.repair for cell in cells if not cell.untouched)
    kinds = [(criterion, state) for criterion in criteria for state in (PRUNED, *repairs)]
    found: dict[Series, list[Cell]] = {}
    for cell in cells:
        colour = theme.NETWORKS[networks.index(cell.network) % len(theme.NETWORKS)]
        # Whatever repairs it, every run has a pruned network.
        for state in (PRUNED,) if cell.untouched else (PRUNED, cell.repair):
            parts = (cell.network, cell.criterion if len(criteria) > 1 else "", state)
            label = ", ".join(filter(None, parts))
            entry = _series(label, colour, kinds.index((cell.criterion, state)))
            found.setdefault(entry, []).append(cell)
    return found


def _series(label: str, colour: str, kind: int) -> Series:
    dash = theme.DASHES[kind % len(theme.DASHES)]
    # The second time round the dashes, each has another shape.
    shape = theme.SHAPES[(kind + kind // len(theme.DASHES)) % len(theme.SHAPES)]
    return Series(label, colour, dash, shape)


def _method(cell: Cell, criteria: Sequence[str]) -> str:
    return f"{cell.criterion}, {cell.repair}" if len(criteria) > 1 else cell.repair


def row_of(summary: Summary, *, percent: bool = False, floor: float = -math.inf, **about: Any) -> Row:
    """Return what is drawn of one point: its mean, its lowest and highest seed, and its words."""
    scale = 100.0 if percent else 1.0
    ends = {key: max(scale * getattr(summary, key), floor) for key in ("mean", "low", "high")}
    words = text.percent(summary) if percent else _spread(summary)
    return {**about, **{key: _short(end) for key, end in ends.items()}, "text": words}


def epoch_rows(cells: Sequence[Cell], metric: str, *, percent: bool = False) -> list[Row]:
    """Return a row per series, ratio and epoch: mean, lowest and highest seed of ``metric``."""
    return [
        row_of(summarize(numbers), percent=percent, series=entry.label, ratio=text.plain(cell.ratio), x=epoch)
        for entry, members in retrained_series(cells).items()
        for cell in members
        for epoch, numbers in _epochs(cell, metric).items()
    ]


def _epochs(cell: Cell, metric: str) -> dict[int, list[float]]:
    epochs: dict[int, list[float]] = {}
    for row in (row for record in cell.records for row in history(record)):
        number = row.get(metric)
        if number is not None and math.isfinite(number):
            epochs.setdefault(int(row["epoch"]), []).append(number)
    return dict(sorted(epochs.items()))


def history(record: Record) -> list[dict[str, Any]]:
    """Return the epochs of the last retraining."""
    network = record.network("retrained")
    return [] if network is None else network.history


def hover_rows(
    rows: Sequence[Row], middle: Callable[[float, float], float] = lambda a, b: (a + b) / 2
) -> tuple[list[Row], dict[str, str]]:
    """Return one row per ratio and x with every series' text, and field -> series: what the tooltip shows.

    ``middle`` is the place half way between two x on the axis. A row's ``place`` is what its x is called.
    """
    fields = {f"t{i}": label for i, label in enumerate(unique(row["series"] for row in rows))}
    names = {label: field for field, label in fields.items()}
    wide: dict[tuple, Row] = {}
    for row in rows:
        key = (row.get("ratio"), row["x"])
        own = wide.setdefault(key, {"ratio": key[0], "x": key[1], "place": row.get("place", key[1])})
        own[names[row["series"]]] = row["text"]
    reach = _reach(sorted({row["x"] for row in rows}), middle)
    empty = dict.fromkeys(fields, text.MISSING)
    return [{**empty, **row, **reach[row["x"]]} for row in wide.values()], fields


def _reach(places: Sequence[float | int], middle: Callable[[float, float], float]) -> dict[float | int, Row]:
    """Return, for each x, where it is the nearest: from the middle before it to the middle after it."""
    middles = list(itertools.starmap(middle, itertools.pairwise(places)))
    lows, highs = [places[0], *middles], [*middles, places[-1]]
    return {x: {"from": low, "to": high} for x, low, high in zip(places, lows, highs, strict=True)}


def jsv_rows(cells: Sequence[Cell]) -> list[Row]:
    """Return a row per network, repair and ratio: mean JSV before retraining over seeds; dense at ratio 0."""
    rows = []
    for series, members in ratio_series(cells).items():
        pruned = series.label.endswith(f", {PRUNED}")
        points: dict[float, dict[int, float]] = {}
        # Ratio 0 is the dense network; a repair of it is another network, drawn only if it was measured.
        if pruned and all(cell.ratio > 0 for cell in members):
            points[0.0] = by_seed(members, "dense.jsv.mean")
        for cell in members:
            own = points.setdefault(cell.ratio, {})
            own.update(by_seed([cell], "pruned.jsv.mean" if pruned else "repaired.jsv.mean"))
        about: Row = {"series": series.label, "ink": series.colour, "mark": series.shape}
        rows += [
            row_of(summarize(seeds.values()), floor=FLOOR, **about, x=ratio)
            for ratio, seeds in sorted(points.items())
            if seeds
        ]
    return rows


def size_rows(cells: Sequence[Cell]) -> tuple[list[Row], str]:
    """Return a row per series and size, test accuracy after retraining, and what is left as x counts it.

    Multiply-adds; where masks leave all of them, the parameters that are not zero. In percent of the dense
    network's, the mean over the seeds.
    """
    rows = _size_rows(cells, "flops")
    if any(row["x"] < 100 for row in rows):
        return rows, "multiply-adds"
    return _size_rows(cells, "nonzero"), "parameters"


def _size_rows(cells: Sequence[Cell], key: str) -> list[Row]:
    rows = []
    for entry, members in retrained_series(cells).items():
        about: Row = {"series": entry.label, "ink": entry.colour, "mark": entry.shape}
        for cell in members:
            left, whole = (over_seeds([cell], f"{role}.{key}").mean for role in ("pruned", "dense"))
            summary = over_seeds([cell], "retrained.test_accuracy")
            if summary.n and whole > 0 and not math.isnan(left):
                rows.append(row_of(summary, percent=True, **about, x=_short(100 * left / whole)))
    return sorted(rows, key=lambda row: row["x"])


@dataclass(frozen=True)
class Stage:
    """The networks of one role at one ratio: dense, pruned, or what one repair made."""

    label: str
    role: str
    colour: str
    ratio: float
    cells: Sequence[Cell]


def stages(cells: Sequence[Cell]) -> list[Stage]:
    """Return dense, pruned and every repaired network at each ratio: of every way of pruning its own."""
    made = []
    for ratio, here in grouped(cells, "ratio").items():
        made.append(Stage("dense", "dense", theme.DENSE, ratio, here))
        for way, mine in _ways(cells, here).items():
            made.append(Stage(_with(way, PRUNED), "pruned", theme.UNTOUCHED, ratio, mine))
            for repair, own in grouped((cell for cell in mine if not cell.untouched), "repair").items():
                made.append(Stage(_with(way, repair), "repaired", own[0].colour, ratio, own))
    return made


def _with(way: str, state: str) -> str:
    return ", ".join(filter(None, [way, state]))


def _ways(cells: Sequence[Cell], here: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells by how they were pruned: the criterion, and further settings if they changed that."""
    several = len(unique(cell.criterion for cell in cells)) > 1
    found: dict[str, list[Cell]] = {}
    for criterion, mine in grouped(here, "criterion").items():
        digests: dict[int, set[str]] = {}
        for cell in mine:
            for row in cell.rows:
                digests.setdefault(cell.runs.seeds[row], set()).add(cell.runs.values("pruned.digest")[row])
        apart = any(len(of_seed) > 1 for of_seed in digests.values())
        for cell in mine:
            way = _with(criterion if several else "", cell.extra if apart else "")
            found.setdefault(way, []).append(cell)
    return found


def spectrum_rows(cells: Sequence[Cell]) -> list[Row]:
    """Return a row per stage, ratio and bin: the bin's ends (log10 sigma) and its share of the values."""
    rows = []
    for stage in stages(cells):
        seeds = {
            cell.runs.seeds[row]: network.jsv_histogram
            for cell in stage.cells
            for row, record in zip(cell.rows, cell.records, strict=True)
            if (network := record.network(stage.role)) is not None and network.jsv_histogram is not None
        }
        edges, shares = pool_histograms((h.edges, h.counts) for h in seeds.values())
        rows += histogram_rows(stage.label, text.plain(stage.ratio), edges, shares)
    return rows


def histogram_rows(stage: str, ratio: str, edges: list[float], shares: list[float]) -> list[Row]:
    """Return a row per bin that is not empty; heights are relative to the fullest."""
    peak = max(shares, default=0.0)
    return [
        {
            "stage": stage,
            "ratio": ratio,
            "low": low,
            "high": high,
            "share": _short(share),
            "height": _short(share / peak),
            "text": f"{text.number(10**low)} to {text.number(10**high)}",
        }
        for low, high, share in zip(edges, edges[1:], shares, strict=False)
        if share > 0
    ]


def final_rows(cells: Sequence[Cell]) -> tuple[list[Row], list[Row]]:
    """Return test accuracy after retraining in percent: one row per series and ratio, and one per seed."""
    means, seeds = [], []
    for series, members in retrained_series(cells).items():
        for cell in members:
            found = by_seed([cell], "retrained.test_accuracy")
            summary = summarize(found.values())
            key = {"series": series.label, "ratio": text.plain(cell.ratio)}
            if summary.n:
                low, high = summary.interval if math.isfinite(summary.half) else (summary.mean, summary.mean)
                # A t interval of few seeds can reach past what an accuracy can be; the bar ends there.
                place = {"mean": 100 * summary.mean, "low": 100 * max(low, 0.0), "high": 100 * min(high, 1.0)}
                words = {"label": f"{100 * summary.mean:.1f}", "text": text.percent(summary)}
                means.append({**key, **place, **words})
                seeds += [{**key, "seed": seed, "value": 100 * number} for seed, number in found.items()]
    return means, seeds


def _spread(summary: Summary) -> str:
    return text.number(summary.mean) + (f" ± {text.number(summary.std)}" if summary.n > 1 else "")


def _short(number: float) -> float:
    return float(f"{number:.5g}")
