"""The subject of a sentence: one network at one ratio, pruned and trained in one way, with its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isoprune.comparison import text
from isoprune.reporting.study import Cell, grouped, unique


@dataclass(frozen=True)
class View:
    """One network at the ratio that the sentences report, pruned and trained in one way; its cells by repair.

    ``name`` says of which of several ways it is; ``pruned`` the same of how it was pruned alone, ``way`` of
    all but the ratio.
    """

    network: str
    criterion: str
    extra: str
    ratio: float
    name: str
    pruned: str
    way: str
    repairs: dict[str, list[Cell]]

    @property
    def bare(self) -> list[Cell]:
        return next((cells for cells in self.repairs.values() if cells[0].untouched), [])

    @property
    def mended(self) -> dict[str, list[Cell]]:
        return {
            name: cells
            for name, cells in self.repairs.items()
            if not cells[0].untouched and not cells[0].scratch
        }

    @property
    def control(self) -> list[Cell]:
        return next((cells for cells in self.repairs.values() if cells[0].scratch), [])


def views_of(network: str, mine: Sequence[Cell]) -> list[View]:
    """Return a view for every criterion and further setting: a sentence never speaks of several as of one."""
    retrained = [cell for cell in mine if cell.lr is not None] or mine
    ratio = max(cell.ratio for cell in retrained)
    here = [cell for cell in retrained if cell.ratio == ratio]
    # The control has a recipe of its own: it is told beside those that share it.
    ways = unique((c.criterion, c.extra) for c in [c for c in here if not c.scratch] or here)
    ratios = unique(cell.ratio for cell in mine)
    criteria, extras = (unique(way[i] for way in ways) for i in (0, 1))
    views = []
    for criterion, extra in ways:
        own = [c for c in mine if (c.ratio, c.criterion, c.extra) == (ratio, criterion, extra)]
        by = criterion if len(criteria) > 1 else ""
        at = f"ratio {text.plain(ratio)}" if len(ratios) > 1 else ""
        other = (extra or "no further setting") if len(extras) > 1 else ""
        name, pruned, way = (_called(network, *parts) for parts in ((by, at, other), (by,), (by, other)))
        views.append(View(network, criterion, extra, ratio, name, pruned, way, grouped(own, "repair")))
    return views


def _called(network: str, *parts: str) -> str:
    words = ", ".join(filter(None, parts))
    return f"{network} ({words})" if words else network
