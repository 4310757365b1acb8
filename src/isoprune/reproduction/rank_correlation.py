"""Do two numbers order methods alike? Kendall's tau of each seed, and its interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import altair as alt

from isoprune.comparison.statistics import kendall_tau, p_value, summarize
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, powers, table
from isoprune.reproduction.claims import TEST_ACCURACY, Cells, Reproduction, Section, Test, Value, Verdict
from isoprune.reproduction.judges import corrected, decide_above, format_interval, undecided
from isoprune.reproduction.ranking import BEFORE, JSV_PRUNED
from isoprune.types.record import Record
from isoprune.types.tables import Table

_TAU = Value("Kendall's tau", "", percent=False)
_LEAST = 5  # methods whose order says something
Number = Callable[[Record], float]


def jsv(record: Record) -> float:
    """Return the mean JSV of the pruned network."""
    return JSV_PRUNED.of(record)


def from_dense(record: Record) -> float:
    """Return minus the distance of the pruned network's mean JSV from the dense one's, of logarithms."""
    own, dense = jsv(record), Value("", "dense.jsv.mean", percent=False).of(record)
    return -abs(math.log(own / dense)) if own > 0 and dense > 0 else -math.inf


def tau_over_seeds(
    panel: str, column: str, pairs: Mapping[int, Sequence[tuple[float, float]]], first: str, second: str
) -> Test:
    """Return the mean over seeds of tau between two numbers of the same methods."""
    taus = [kendall_tau(*zip(*own, strict=True)) for own in pairs.values() if len(own) > 1]
    found = summarize(taus)
    low, high = found.interval
    return Test(
        panel, first, second, column, len(taus), found.n, found.mean, low, high, p_value(found), None, _TAU
    )


def of_panels(cells: Cells, panels: Sequence[str], of: Number, name: str) -> tuple[Test, ...]:
    """Return for every panel and column how far ``of`` orders the methods by what they reach."""
    tests = []
    for panel in panels:
        for column in sorted({p.column for p in cells if p.panel == panel}, key=float):
            pairs: dict[int, list[tuple[float, float]]] = {}
            for place, seeds in cells.items():
                if (place.panel, place.column) == (panel, column):
                    for seed, record in seeds.items():
                        pairs.setdefault(seed, []).append((of(record), TEST_ACCURACY.compared(record)))
            pairs = {seed: own for seed, own in pairs.items() if len(own) >= _LEAST}
            if pairs:
                tests.append(tau_over_seeds(panel, column, pairs, name, "accuracy reached"))
    return corrected(tests)


def jsv_orders(panels: Callable[[Cells], Sequence[str]]) -> Callable[[Reproduction, Cells], Verdict]:
    """Return the judge of "the mean JSV after pruning orders methods by what they reach": tau above zero."""

    def judge(_: Reproduction, cells: Cells) -> Verdict:
        tests = of_panels(cells, panels(cells), jsv, "mean JSV after pruning")
        return undecided(tests) or decide_above(tests)

    return judge


def correlations(cells: Cells, panels: Sequence[str]) -> Section | None:
    """Return the taus of the JSV, of its distance from the dense one's, of accuracy before retraining."""
    columns = {
        "JSV after pruning": jsv,
        "its distance from dense": from_dense,
        "accuracy before retraining": BEFORE.compared,
    }
    found = [of_panels(cells, panels, of, name) for name, of in columns.items()]
    rows = []
    for tests in zip(*found, strict=True):
        intervals = [f"{t.mean:+.2f} ({format_interval(t)})".replace("-", "−") for t in tests]
        rows.append((tests[0].panel, tests[0].column, str(tests[0].n), *intervals))
    if not rows:
        return None
    head = ("table", "ratio", "seeds", *(f"tau: {name}" for name in columns))
    lead = (
        "Kendall's tau over the criteria of one table and ratio, of each seed; mean and 95 % interval over "
        "seeds. 1: the number orders the criteria just as the accuracy that they reach; 0: it says nothing."
    )
    title = "Does the mean JSV after pruning order the criteria?"
    return Section(
        title, lead, Table(head, tuple(rows), words=1), _scatter(cells, panels[: len(theme.PALETTE)])
    )


def _scatter(cells: Cells, panels: Sequence[str]) -> Figure | None:
    """Return a point for each method of a few tables, each in its own colour."""
    rows = []
    for place, seeds in cells.items():
        if place.panel not in panels:
            continue
        x = summarize(JSV_PRUNED.compared(r) for r in seeds.values()).mean
        y = summarize(TEST_ACCURACY.compared(r) for r in seeds.values()).mean
        if math.isfinite(x) and math.isfinite(y):
            rows.append({"x": 10**x, "y": y, "panel": place.panel, "row": f"{place.row}, {place.column}"})
    if not rows:
        return None
    colours = dict(zip(panels, theme.PALETTE, strict=False))
    low, high = (f(math.log10(row["x"]) for row in rows) for f in (min, max))
    x = alt.X(
        "x:Q", title="mean JSV after pruning", axis=powers(math.floor(low), math.ceil(high)),
        scale=alt.Scale(type="log", nice=False, padding=12),
    )  # fmt: skip
    y = alt.Y("y:Q", title=TEST_ACCURACY.name, scale=alt.Scale(zero=False, padding=12))
    colour = in_colours("panel", colours, alt.Legend(title=None, orient="bottom", columns=2))
    tips = [alt.Tooltip("row:N", title="criterion, ratio"), alt.Tooltip("y:Q", format=".4~g")]
    point = (
        table("rows")
        .mark_point(size=50, filled=True, opacity=0.8)
        .encode(x=x, y=y, color=colour, tooltip=tips)
    )
    return Figure(alt.LayerChart(layer=[point]).properties(height=340), {"rows": rows})
