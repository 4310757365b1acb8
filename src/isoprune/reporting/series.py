"""Cells -> the rows that the figures draw: means and ranges over seeds, never raw series."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting import theme
from isoprune.reporting.statistics import pool_histograms
from isoprune.reporting.study import Cell, by_seed, unique, value

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
    methods = unique(_method(cell, criteria) for cell in done)
    colour = theme.colours(methods)
    details = unique((cell.lr, cell.extra) for cell in done)
    found: dict[Series, list[Cell]] = {}
    for cell in done:
        method, detail = _method(cell, criteria), (cell.lr, cell.extra)
        kind = details.index(detail)
        label = ", ".join(filter(None, [method, f"LR {text.learning_rate(cell.lr or 0.0)}", cell.extra]))
        series = _series(label, colour[method], kind)
        found.setdefault(series, []).append(cell)
    return found


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
    dash, shape = theme.DASHES[kind % len(theme.DASHES)], theme.SHAPES[kind % len(theme.SHAPES)]
    return Series(label, colour, dash, shape)


def _method(cell: Cell, criteria: Sequence[str]) -> str:
    return f"{cell.criterion}, {cell.repair}" if len(criteria) > 1 else cell.repair


def epoch_rows(cells: Sequence[Cell], metric: str, *, percent: bool = False) -> list[Row]:
    """Return a row per series, ratio and epoch: mean, lowest and highest seed of ``metric``."""
    scale, told_as = (100.0, text.percent) if percent else (1.0, _spread)
    rows = []
    for series, members in retrained_series(cells).items():
        for cell in members:
            for epoch, found in _epochs(cell, metric).items():
                told = summarize(found)
                rows.append(
                    {
                        "series": series.label,
                        "ratio": text.plain(cell.ratio),
                        "x": epoch,
                        "mean": _short(scale * told.mean),
                        "low": _short(scale * told.low),
                        "high": _short(scale * told.high),
                        "text": told_as(told),
                    }
                )
    return rows


def _epochs(cell: Cell, metric: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for record in cell.records:
        for row in (record.get("history") or {}).get("retrained") or []:
            number = value(row, metric)
            if math.isfinite(number):
                found.setdefault(int(row["epoch"]), []).append(number)
    return dict(sorted(found.items()))


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
            points[0.0] = by_seed(members, *_jsv("dense"))
        for cell in members:
            own = points.setdefault(cell.ratio, {})
            own.update(by_seed([cell], *_jsv("pruned" if pruned else "repaired")))
        for ratio, seeds in sorted(points.items()):
            told = summarize(seeds.values())
            if told.n:
                rows.append(
                    {
                        "series": series.label,
                        "ink": series.colour,
                        "mark": series.shape,
                        "x": ratio,
                        "mean": _short(max(told.mean, FLOOR)),
                        "low": _short(max(told.low, FLOOR)),
                        "high": _short(max(told.high, FLOOR)),
                        "text": _spread(told),
                    }
                )
    return rows


def _jsv(stage: str) -> tuple[str, ...]:
    return ("stages", stage, "jsv", "mean")


def spectrum_rows(cells: Sequence[Cell]) -> list[Row]:
    """Return a row per stage, ratio and bin: the bin's ends (log10 sigma) and its share of the values."""
    rows = []
    for ratio in unique(cell.ratio for cell in cells):
        here = [cell for cell in cells if cell.ratio == ratio]
        stages = [("dense", "dense", here), ("pruned", "pruned", here)]
        repairs = unique(cell.repair for cell in here if not cell.untouched)
        stages += [(name, "repaired", [cell for cell in here if cell.repair == name]) for name in repairs]
        for label, stage, members in stages:
            edges, shares = pool_histograms(_histograms(members, stage))
            rows += histogram_rows(label, text.plain(ratio), edges, shares)
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


def _histograms(cells: Sequence[Cell], stage: str) -> list[tuple[list[float | int], list[float | int]]]:
    found: dict[int, Mapping[str, Any]] = {}
    for cell in cells:
        for record in cell.records:
            histogram = (record["stages"].get(stage) or {}).get("jsv_histogram")
            if histogram:
                found[int(record["config"].get("seed", 0))] = histogram
    return [(list(h["log10_edges"]), list(h["counts"])) for h in found.values()]


def final_rows(cells: Sequence[Cell]) -> tuple[list[Row], list[Row]]:
    """Return test accuracy after retraining in percent: one row per series and ratio, and one per seed."""
    means, seeds = [], []
    for series, members in retrained_series(cells).items():
        for cell in members:
            found = by_seed([cell], "stages", "retrained", "test_accuracy")
            told = summarize(found.values())
            key = {"series": series.label, "ratio": text.plain(cell.ratio)}
            if told.n:
                low, high = told.interval if told.n > 1 else (told.mean, told.mean)
                # A t interval of few seeds can reach past what an accuracy can be; the bar ends there.
                place = {"mean": 100 * told.mean, "low": 100 * max(low, 0.0), "high": 100 * min(high, 1.0)}
                words = {"label": f"{100 * told.mean:.1f}", "text": text.percent(told)}
                means.append({**key, **place, **words})
                seeds += [{**key, "seed": seed, "value": 100 * number} for seed, number in found.items()]
    return means, seeds


def _spread(told: Summary) -> str:
    return text.number(told.mean) + (f" ± {text.number(told.std)}" if told.n > 1 else "")


def _short(number: float) -> float:
    return float(f"{number:.5g}")
