"""Records -> one table: a number of every run, in cells of equal runs, mean and spread over the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import IGNORED, WORDS, Number, Runs, reading_order, under, words_of, written
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting.pivots.query import SPREADS, along, is_of, select
from isoprune.types.collector import uncollected
from isoprune.types.errors import IsopruneError, check_known
from isoprune.types.tables import Table

Label = tuple[str, ...]
_LISTED = 5  # Missing seeds of more cells are counted, not listed.


@dataclass(frozen=True)
class Pivot:
    """A table of one number along some keys.

    Attributes:
        rows, columns: The words along which it goes.
        value: What is in the cells; an accuracy is a fraction here and percent where it is written.
        sides, heads: The labels of the rows and of the columns, in reading order.
        cells: (side, head) -> seed -> value.
        common: What all runs share, word by word.
        notes: What a reader must know: seeds, what is missing, what is not equal, what was left out.
        spread: "std", "interval" (95 %, Student-t) or "none".
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    value: str
    sides: tuple[Label, ...]
    heads: tuple[Label, ...]
    cells: Mapping[tuple[Label, Label], Mapping[int, Number]]
    common: Mapping[str, str]
    notes: tuple[str, ...]
    spread: str

    @property
    def percent(self) -> bool:
        """Whether the numbers are written in percent."""
        return self.value.endswith("accuracy")

    def summary(self, side: Label, head: Label) -> Summary:
        """Return what the seeds of a cell say; of no seeds where there is no run."""
        return summarize(self.cells.get((side, head), {}).values())

    def written(self, side: Label, head: Label) -> tuple[str, str]:
        """Return a cell's mean and its spread as text, without a unit; "" where a spread cannot be told."""
        found = self.summary(side, head)
        if not found.n:
            return text.MISSING, ""
        width = found.half if self.spread == "interval" else found.std
        if self.percent:
            mean, around = f"{100 * found.mean:.2f}", f"{100 * width:.2f}"
        else:
            mean, around = text.number(found.mean), text.number(width)
        return mean, around if self.spread != "none" and not math.isnan(width) else ""

    def table(self) -> Table:
        """Return the table as plain text, one line of heads: "none, 0.01"."""
        full = max(len(seeds) for seeds in self.cells.values())
        lines = []
        for side in self.sides:
            line = [*side]
            for head in self.heads:
                mean, spread = self.written(side, head)
                n = len(self.cells.get((side, head), {}))
                few = f" (n = {n})" if 0 < n < full else ""
                line.append(mean + (f" ± {spread}" if spread else "") + few)
            lines.append(tuple(line))
        heads = tuple(", ".join(head) or self.value for head in self.heads)
        return Table((*self.rows, *heads), tuple(lines), words=len(self.rows))


def pivot(
    records: Sequence[Any] | Runs,
    *,
    rows: str | Sequence[str],
    columns: str | Sequence[str] = (),
    value: str = "test_accuracy",
    where: Mapping[str, str] | None = None,
    spread: str = "std",
) -> Pivot:
    """Return the table of ``value`` along ``rows`` and ``columns``.

    The runs of a cell differ in their seeds alone; what else differs in one is an error. What differs from
    cell to cell and is not on an axis is said below the table: it is not a comparison, `compare` makes one.

    Args:
        records: Of any runs, as `load_records` returns them, or their frame.
        rows: Words (ratio, repair, criterion, penalty, lr, epochs, ...) or keys of a config, in their order.
        columns: The same; none gives one column.
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv (after retraining), or a number
            by its role, as "repaired.test_accuracy".
        where: Only the runs with these values: {"model": "mlp_7", "ratio": "0.5,0.9"}.
        spread: "std" over seeds, "interval" (95 %, Student-t), or "none".

    Raises:
        IsopruneError: If a word is unknown, nothing is left, or runs of different data, networks or
            settings would be mixed; says which key has which values, and what to do.
    """
    across, down = words_of(columns), words_of(rows)
    words = [*down, *across]
    if not down:
        raise IsopruneError(f"A table needs rows. Give words with commas, as ratio: {', '.join(WORDS)}.")
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise IsopruneError(f"{twice!r} is given twice. Give it to the rows or to the columns.")
    check_known(spread, SPREADS, "spread")
    with uncollected():
        runs, values, left_out = select(records, value, where or {})
        names = {word: along(runs, word) for word in words}
        free = [key for key in runs.varied if any(under(key, f) for f in (*IGNORED, "seed"))]
        free += [key for key in runs.varied if any(is_of(key, word, runs) for word in words)]
        differing = [key for key in runs.varied if key not in free]
        _refuse_mixed(runs, differing)
        sides = list(zip(*(names[word] for word in down), strict=True))
        heads = list(zip(*(names[word] for word in across), strict=True)) if across else [()] * len(runs)
        cells, twins = _filled(runs, values, sides, heads, differing, words)
        made = Pivot(
            rows=tuple(down),
            columns=tuple(across),
            value=value,
            sides=_ordered(sides),
            heads=_ordered(heads),
            cells=cells,
            common=_common(runs, words),
            notes=(),
            spread=spread,
        )
        notes = (*_seeds(made), *_unequal(runs, differing), *left_out, *twins)
        return replace(made, notes=notes)


def _ordered(labels: Sequence[Label]) -> tuple[Label, ...]:
    return tuple(sorted(dict.fromkeys(labels), key=lambda label: [_order(word) for word in label]))


def _order(word: str) -> tuple[Any, ...]:
    return reading_order(f"={word}" if word.replace(".", "").replace("-", "").isalnum() else word)


def _refuse_mixed(runs: Runs, differing: Sequence[str]) -> None:
    """Raise an error if what must never be averaged, or stand side by side unsaid, differs."""
    for word, what in (("data", "data sets"), ("model", "networks")):
        keys = [key for key in differing if under(key, word)]
        if keys:
            key = next((key for key in keys if key.endswith(".name")), keys[0])
            values = runs.frame[key].to_list()
            raise IsopruneError(
                f"The runs are of different {what}: {_values(key, values)}. Take one: "
                f"{_where(key, values)}; or put {word} into --rows or --columns."
            )


def _values(key: str, values: Sequence[Any]) -> str:
    texts = sorted({written(value) for value in values}, key=_order)
    return f"{key} is {', '.join(texts[:4])}{', ...' if len(texts) > 4 else ''}"


def _where(key: str, values: Sequence[Any]) -> str:
    first = next(written(value) for value in values if value is not None)
    return f"--where {key.removesuffix('.name')}={first}"


def _filled(
    runs: Runs,
    values: Sequence[Number],
    sides: Sequence[Label],
    heads: Sequence[Label],
    differing: Sequence[str],
    words: Sequence[str],
) -> tuple[dict[tuple[Label, Label], dict[int, Number]], list[str]]:
    """Return the values of every cell by seed, and in words how many runs are there twice."""
    places = list(zip(sides, heads, strict=True))
    kinds: dict[tuple[Label, Label], int] = {}
    rests, codes = runs.kinds(differing)
    for (side, head), kind in zip(places, codes, strict=True):
        if kinds.setdefault((side, head), kind) != kind:
            first, other = rests[kinds[side, head]], rests[kind]
            key = next(key for key in differing if first[key] != other[key])
            pair = [first[key], other[key]]
            place = ", ".join(f"{w} = {name}" for w, name in zip(words, (*side, *head), strict=True))
            word = next((w for w, keys in WORDS.items() if any(under(key, k) for k in keys)), key)
            raise IsopruneError(
                f"The runs of one cell ({place}) are not equal: {_values(key, pair)}. Put {word} into "
                f"--rows or --columns, or take one: {_where(key, pair)}."
            )
    found, twice = runs.by_seed(places)
    cells = {place: {seed: values[row] for seed, row in rows.items()} for place, rows in found.items()}
    note = f"{twice} run{'s' if twice != 1 else ''} left out: of a cell and seed that is there already."
    return cells, [note] if twice else []


def _common(runs: Runs, words: Sequence[str]) -> dict[str, str]:
    """Return what all runs share of what people ask first."""
    common = {}
    for word in ("data", "model", "criterion", "ratio", "repair", "lr", "epochs"):
        if word in words or any(is_of(key, word, runs) for key in runs.varied):
            continue
        label = along(runs, word)[0]
        if not label.startswith("without"):
            common[word] = label
    return common


def _seeds(made: Pivot) -> list[str]:
    """Return how many seeds there are, and which are missing where."""
    unit = f"{made.value}{' in percent' if made.percent else ''}"
    everywhere = sorted({seed for seeds in made.cells.values() for seed in seeds})
    if len(everywhere) == 1 or max(map(len, made.cells.values())) == 1:
        return [
            f"{unit}. One seed in each cell: no spread can be told. Run more, as [study] seed = [0, 1, 2]."
        ]
    width = {"std": "mean ± standard deviation", "interval": "mean ± 95 % interval", "none": "mean"}[
        made.spread
    ]
    notes = [f"{unit}, {width} over {len(everywhere)} seeds ({', '.join(map(str, everywhere))})."]
    short = {place: [s for s in everywhere if s not in seeds] for place, seeds in made.cells.items()}
    short = {place: seeds for place, seeds in short.items() if seeds}
    if short:
        parts = [
            f"{', '.join((*side, *head))}: {', '.join(map(str, seeds))}"
            for (side, head), seeds in list(short.items())[:_LISTED]
        ]
        more = f"; and in {len(short) - _LISTED} more cells" if len(short) > _LISTED else ""
        notes.append(f"Seeds are missing ({'; '.join(parts)}{more}): run their study again.")
    empty = len(made.sides) * len(made.heads) - len(made.cells)
    return notes + ([f"{empty} cell{'s' if empty > 1 else ''} without a run."] if empty else [])


def _unequal(runs: Runs, differing: Sequence[str]) -> list[str]:
    """Return what is not equal from cell to cell and on no axis: a reader would take it for equal."""
    parts = [_values(key, runs.frame[key].unique().to_list()).replace(" is ", ": ", 1) for key in differing]
    return [f"Not equal in all cells: {'; '.join(parts)}."] if parts else []
