"""Parts of a reproduction: published tables, claims, and the cell of a table that each record belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isoprune.comparison.records import Flat, flatten, under
from isoprune.comparison.records.frame import numbers_of
from isoprune.experiment.grid import Study
from isoprune.reporting.charts import Figure
from isoprune.types.record import Record
from isoprune.types.tables import Table

CONFIRMED = "confirmed"
NOT_CONFIRMED = "not confirmed"
NOT_TESTABLE = "not testable at this scale"


@dataclass(frozen=True)
class Place:
    """A cell of a table: one network's table, a row and a column of it, by the names they have there."""

    panel: str
    row: str
    column: str


Cells = Mapping[Place, Mapping[int, Record]]  # seed -> record


def ratio_of(flat: Flat) -> str:
    """Return the ratio of the config; of a table of patterns, the largest."""
    ratios = [value for key, value in flat.items() if under(key, "prune.ratio") and value is not None]
    return f"{max(ratios):g}"


@dataclass(frozen=True)
class Published:
    """A table as it was printed.

    Attributes:
        rows: Name -> a mean for every column, and perhaps the standard deviation; None where there is none.
        comparable: Whether its differences are what ours should come to; else it is shown, and no measure.
    """

    title: str
    source: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[tuple[float, ...] | float | None, ...]]
    comparable: bool = True

    def mean(self, row: str, column: str) -> float | None:
        cell = self._cell(row, column)
        return cell[0] if isinstance(cell, tuple) else cell

    def std(self, row: str, column: str) -> float | None:
        cell = self._cell(row, column)
        return cell[1] if isinstance(cell, tuple) else None

    def _cell(self, row: str, column: str) -> tuple[float, ...] | float | None:
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]


@dataclass(frozen=True)
class Value:
    """A number of a record, by its column. ``percent``: a fraction, shown in percent; ``log``: of ratios."""

    name: str
    column: str
    percent: bool = True
    log: bool = False

    def of(self, record: Record) -> float:
        """Return the number, NaN if there is none."""
        number = numbers_of(record).get(self.column)
        return math.nan if number is None else float(number)

    def compared(self, record: Record) -> float:
        """Return what differences are taken of: percent, the logarithm to base 10, or the number."""
        number = self.of(record)
        if self.log:
            return math.log10(number) if number > 0 else math.nan
        return 100 * number if self.percent else number

    def published(self, value: float) -> float:
        """Return a printed number (accuracies are printed in percent) as `compared` returns ours."""
        return math.log10(value) if self.log else value


TEST_ACCURACY = Value("test accuracy after retraining, %", "retrained.test_accuracy")
JSV_BEFORE = Value("mean JSV before retraining", "repaired.jsv.mean", percent=False, log=True)
VALUES = {
    value.column: value
    for value in (
        TEST_ACCURACY,
        JSV_BEFORE,
        Value("mean JSV after retraining", "retrained.jsv.mean", percent=False, log=True),
        Value("trainability accuracy, %", "trainability_accuracy"),
        Value("test accuracy before retraining, %", "pruned.test_accuracy"),
        Value("test accuracy without retraining, %", "repaired.test_accuracy"),
    )
}


@dataclass(frozen=True)
class Test:
    """One paired difference, first minus second, and what was published of it.

    ``n``: pairs with a difference, of ``seeds`` that both have: a missing value has none, nor has the
    logarithm of zero.
    """

    panel: str
    first: str
    second: str
    column: str
    seeds: int
    n: int
    mean: float
    low: float
    high: float
    p: float
    published: float | None
    value: Value
    setup: str = ""
    corrected: float = math.nan

    @property
    def shown(self) -> bool:
        return self.corrected < 0.05

    @property
    def tells(self) -> bool:
        """Whether there is an interval."""
        return self.n > 1 and math.isfinite(self.low)


@dataclass(frozen=True)
class Verdict:
    word: str
    because: str
    tests: tuple[Test, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and the function that judges it by our cells."""

    text: str
    source: str
    judge: Callable[[Reproduction, Cells], Verdict]


@dataclass(frozen=True)
class Section:
    """A part of a page besides claims and panels: what it says, its table, and perhaps its chart."""

    title: str
    lead: str
    table: Table
    figure: Figure | None = None


@dataclass(frozen=True)
class Reproduction:
    """A table or figure of a paper as a study.

    Attributes:
        place: Config with dotted keys -> where its record stands; None: in no table.
        published: Panel (one of ours) -> the table that stands beside it.
        complete: Adds to a study what no grid can say.
        image_classes: Of the folder of images that the paper's size reads.
        sections: What its page has besides claims and panels.
        select: Of the runs in their places those that count, such as the best rate's.
        charted: Whether panels have charts: of many rows none can be read.
        paneled: Whether its page has panels: of networks that were drawn no two share a line.
        rows: The lines of its table of all runs, in place of the usual ones.
    """

    name: str
    title: str
    question: str
    claims: tuple[Claim, ...]
    place: Callable[[Flat], Place | None]
    published: Mapping[str, Published]
    value: Value = TEST_ACCURACY
    columns: str = "ratio"
    notes: tuple[str, ...] = ()
    complete: Callable[[Study, int], Study] = field(default=lambda study, _: study)
    image_classes: int = 1000
    scales: tuple[str, ...] = ("smoke", "laptop", "paper")
    sections: Callable[[Cells], Sequence[Section]] = field(default=lambda _: ())
    charted: bool = True
    paneled: bool = True
    rows: Callable[[Cells], Sequence[Mapping[str, Any]]] | None = None
    select: Callable[[Cells], Cells] = field(default=lambda cells: cells)

    def cells(self, records: Sequence[Record]) -> Cells:
        """Return the cells of the finished records that count (see ``select``)."""
        return self.select(self.placed(records))

    def placed(self, records: Sequence[Record]) -> Cells:
        """Return the cells of the finished records; a seed that comes twice counts once."""
        cells: dict[Place, dict[int, Record]] = {}
        for record in records:
            place = self.place(flatten(record.config))
            if place is not None:
                cells.setdefault(place, {}).setdefault(int(record.config.get("seed", 0)), record)
        return cells
