"""Accuracy against the budget of retraining: each repair at the best of its rates, and at the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting import theme
from isoprune.reporting.sentences import Finding
from isoprune.reporting.series import Row, Series, row_of
from isoprune.reporting.study import Cell, by_seed, grouped, split_by_budget, unique
from isoprune.types.tables import Table

BEST, WORST = "best rate", "worst rate"
_BASELINES = ("none", "batchnorm")  # no repair; where there is none, its BatchNorm statistics taken anew


@dataclass(frozen=True)
class Point:
    """One repair at one budget: test accuracy by seed at its best and its worst rate.

    Which rate is best and worst is decided by mean validation accuracy. A rate at which a seed has no result
    (its training diverged) is the worst there is, with no accuracies: ``worst`` is then empty.
    """

    repair: str  # with the criterion and further settings, where they differ
    method: str  # the repair's name in the config
    steps: int
    best: Mapping[int, float]
    worst: Mapping[int, float]


def points(cells: Sequence[Cell]) -> list[Point]:
    """Return the points of one network and ratio, from runs with a budget; 0 steps: before retraining."""
    cells = split_by_budget(cells)[1]
    rates = unique(cell.lr for cell in cells)
    seeds = {seed for cell in cells for seed in by_seed([cell], "dense.test_accuracy")}
    found = []
    several = len(unique(cell.criterion for cell in cells)) > 1
    variants: dict[str, list[Cell]] = {}
    for cell in cells:
        label = ", ".join(filter(None, [cell.criterion if several else "", cell.repair, cell.extra]))
        variants.setdefault(label, []).append(cell)
    for repair, own in variants.items():
        method = str(own[0].value("repair.name") or "none")
        start = by_seed(own, "repaired.test_accuracy")
        found.append(Point(repair, method, 0, start, start))
        for steps in sorted(unique(cell.steps or 0 for cell in own)):
            runs = {cell.lr: cell for cell in own if cell.steps == steps}
            judged = {lr: by_seed([cell], "retrained.validation_accuracy") for lr, cell in runs.items()}
            mean = {lr: summarize(j.values()).mean for lr, j in judged.items() if j.keys() == seeds}
            if not mean:
                continue
            best, worst = max(mean, key=mean.__getitem__), min(mean, key=mean.__getitem__)
            ends = [by_seed([runs[lr]], "retrained.test_accuracy") for lr in (best, worst)]
            lost = len(mean) < len(rates)
            found.append(Point(repair, method, steps, ends[0], {} if lost else ends[1]))
    return found


def rows(cells: Sequence[Cell]) -> tuple[list[Row], list[Series]]:
    """Return what the figure draws of one network, and its legend: repair by colour, rate by dash."""
    by_ratio = {ratio: points(here) for ratio, here in sorted(grouped(cells, "ratio").items())}
    repairs = unique(p.repair for ps in by_ratio.values() for p in ps)
    untouched = next((p.repair for ps in by_ratio.values() for p in ps if p.method == "none"), "")
    colour = theme.colours(repairs, {untouched: theme.UNTOUCHED})
    entries = [
        Series(f"{repair}, {end}", colour[repair], theme.DASHES[kind], theme.SHAPES[kind])
        for repair in repairs
        for kind, end in enumerate((BEST, WORST))
    ]
    first = min((p.steps for ps in by_ratio.values() for p in ps if p.steps), default=1)
    drawn = [
        row_of(
            summary,
            percent=True,
            series=f"{p.repair}, {end}",
            ratio=text.plain(ratio),
            # Zero has no logarithm: it lies to the left of all budgets.
            x=p.steps or first / 4,
            place=p.steps,
        )
        for ratio, found in by_ratio.items()
        for p in found
        for end, values in ((BEST, p.best), (WORST, p.worst))
        if (summary := summarize(values.values())).n
    ]
    return drawn, entries


def table(cells: Sequence[Cell]) -> Table:
    """Return a row per network, ratio and repair, a column per budget: accuracy at the best (worst) rate."""
    cells = split_by_budget(cells)[1]
    budgets = [0, *sorted(unique(cell.steps or 0 for cell in cells))]
    lines = []
    for (network, ratio), here in grouped(cells, "network", "ratio").items():
        found = points(here)
        for repair in unique(p.repair for p in found):
            at = {p.steps: p for p in found if p.repair == repair}
            lines.append(
                (
                    network,
                    repair,
                    text.plain(ratio),
                    *(_cell(at[b]) if b in at else text.MISSING for b in budgets),
                )
            )
    columns = ("network", "repair", "ratio", *(f"{b} steps" for b in budgets))
    return Table(columns, tuple(lines), words=2)


def _cell(point: Point) -> str:
    best = text.percent(summarize(point.best.values()))
    if not point.steps:
        return best
    worst = text.percent(summarize(point.worst.values()), spread=False) if point.worst else "diverged"
    return f"{best} ({worst})"


def findings(cells: Sequence[Cell]) -> list[Finding]:
    """Return what `auto` is worth at each budget against no repair, paired by seed, at best rates each."""
    sentences = []
    for (network, ratio), here in grouped(split_by_budget(cells)[1], "network", "ratio").items():
        # One variant: criteria and further settings are compared in the table, not in a sentence.
        found = points([c for c in here if (c.criterion, c.extra) == (here[0].criterion, here[0].extra)])
        base = {p.steps: p for p in found if p.method == _baseline(found)}
        auto = {p.steps: p for p in found if p.method == "auto"}
        both = sorted(auto.keys() & base.keys() - {0})
        if not both:
            continue
        name, full = base[both[0]].repair, both[-1]
        gains = ", ".join(f"{_gap(auto[b], base[b])} at {b}" for b in both)
        clauses = [f"in points by steps of retraining, auto less {name} is {gains}"]
        if full // 2 in auto:
            clauses.append(
                f"auto after {full // 2} less {name} after {full} is {_gap(auto[full // 2], base[full])}"
            )
        sentences.append(Finding(f"{network} at ratio {text.plain(ratio)}", tuple(clauses)))
    return sentences


def _baseline(points: Sequence[Point]) -> str | None:
    return next((name for name in _BASELINES if any(p.method == name for p in points)), None)


def _gap(a: Point, b: Point) -> str:
    difference = paired(a, b)
    low, high = difference.interval
    words = f"{text.points(difference.mean)}"
    return words if math.isnan(low) else f"{words} ({text.points(low)} to {text.points(high)})"


def paired(a: Point, b: Point) -> Summary:
    """Return the differences of two points' accuracies at their best rates, seed by seed."""
    return summarize(a.best[seed] - b.best[seed] for seed in a.best.keys() & b.best.keys())
