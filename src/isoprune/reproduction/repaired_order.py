"""Does a repair change which method is ahead? Rows of a table with and without it, of the same runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isoprune.comparison import text
from isoprune.comparison.statistics import kendall_tau, summarize
from isoprune.reproduction.claims import TEST_ACCURACY, VALUES, Cells, Section
from isoprune.reproduction.ranking import JSV_PRUNED, geometric, place_of
from isoprune.types.tables import Table

REPAIRED, PLUS = ", repaired", " + "
_JSV = VALUES["repaired.jsv.mean"]


def repaired_panels(cells: Cells) -> list[str]:
    return list(dict.fromkeys(p.panel for p in cells if p.panel.endswith(REPAIRED)))


def orders(cells: Cells, panel: str) -> Section:
    """Return what each criterion reaches with no repair and with each, and how alike the orders are."""
    own = [place for place in cells if place.panel == panel]
    column = own[0].column
    pairs = [place.row.split(PLUS, 1) for place in own]
    criteria = list(dict.fromkeys(criterion for criterion, _ in pairs))
    repairs = list(dict.fromkeys(repair for _, repair in pairs))
    found = {
        (criterion, repair): place_of(
            cells,
            panel if repair else panel.removesuffix(REPAIRED),
            f"{criterion}{PLUS}{repair}" if repair else criterion,
            column,
        )
        for criterion in criteria
        for repair in ("", *repairs)
    }
    rows = []
    for criterion in criteria:
        cells_of = [found[criterion, repair] for repair in ("", *repairs)]
        seeds = set.intersection(*(set(one) for one in cells_of))
        lines = []
        for one, repair in zip(cells_of, ("", *repairs), strict=True):
            records = [one[seed] for seed in sorted(seeds)]
            reached = summarize(TEST_ACCURACY.compared(r) for r in records).mean
            shown = f"{reached:.2f} ({geometric(_JSV if repair else JSV_PRUNED, records)})"
            lines.append(shown if records else text.MISSING)
        rows.append((criterion, str(len(seeds)), *lines))
    rows.append(
        ("tau with the order of none", "", "", *(_tau(found, criteria, repair) for repair in repairs))
    )
    head = ("criterion", "n", "none", *repairs)
    lead = (
        f"Ratio {column}: accuracy reached in % (and the geometric mean of the mean JSV before retraining). "
        "Last row: Kendall's tau between the order of the criteria without a repair and with it, of each "
        "seed; mean and 95 % interval over seeds. 1: the repair changes nothing in the order."
    )
    return Section(f"{panel}: does a repair change the order?", lead, Table(head, tuple(rows)))


def _tau(cells: dict, criteria: Sequence[str], repair: str) -> str:
    taus = []
    seeds = set.intersection(*(set(cells[c, r]) for c in criteria for r in ("", repair)))
    for seed in sorted(seeds):
        without, repaired = (
            [TEST_ACCURACY.compared(cells[c, r][seed]) for c in criteria] for r in ("", repair)
        )
        taus.append(kendall_tau(without, repaired))
    tau = summarize(taus)
    if tau.n < 2:
        return text.MISSING
    low, high = tau.interval
    if math.isnan(low):
        return f"{tau.mean:+.2f}".replace("-", "−")
    return f"{tau.mean:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")
