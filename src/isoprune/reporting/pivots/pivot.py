"""Records -> one table: a number of every run, in cells of equal runs, mean and spread over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import SILENT, WORDS, Number, Record, reading_order, told, under, varied
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting.pivots.query import SPREADS, Flat, Row, along, chosen, keys_of, known
from isoprune.reporting.pivots.table import Table
from isoprune.types.collector import uncollected
from isoprune.types.errors import IsopruneError, did_you_mean

Label = tuple[str, ...]
_TOLD = 5  # Missing seeds of more cells are counted, not listed.


@dataclass(frozen=True)
class Pivot:
    """A table of one number along some keys.

    Attributes:
        rows, columns: The words that were asked for.
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
        return mean, around if self.spread != "none" and found.n > 1 else ""

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
    records: Sequence[Record],
    *,
    rows: str | Sequence[str],
    columns: str | Sequence[str] = (),
    value: str = "test_accuracy",
    where: Mapping[str, str] | None = None,
    spread: str = "std",
) -> Pivot:
    """Return the table of ``value`` along ``rows`` and ``columns``.

    The runs of a cell differ in their seeds alone; what else differs in one is an error. What differs from
    cell to cell and is not on an axis is told below the table: it is not a comparison, `compare` makes one.

    Args:
        records: Of any runs, as `load_records` returns them.
        rows: Words (ratio, repair, criterion, penalty, lr, epochs, ...) or keys of a config, in their order.
        columns: The same; none gives one column.
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv (after retraining), or where a
            record has a number, as "stages.repaired.test_accuracy".
        where: Only the runs with these values: {"model": "mlp_7", "ratio": "0.5,0.9"}.
        spread: "std" over seeds, "interval" (95 %, Student-t), or "none".

    Raises:
        IsopruneError: If a word is unknown, nothing is left, or runs of different data, networks or
            settings would be mixed; says which key has which values, and what to do.
    """
    asked = _words(rows), _words(columns)
    both = [*asked[0], *asked[1]]
    if not asked[0]:
        raise IsopruneError(f"A table needs rows. Give words with commas, as ratio: {', '.join(WORDS)}.")
    if twice := next((word for word in both if both.count(word) > 1), None):
        raise IsopruneError(f"{twice!r} is asked for twice. Give it to the rows or to the columns.")
    if spread not in SPREADS:
        raise IsopruneError(f"Unknown spread {spread!r}.{did_you_mean(spread, SPREADS)}")
    with uncollected():
        return _pivot(records, asked, value, where or {}, spread)


def _pivot(
    records: Sequence[Record],
    asked: tuple[list[str], list[str]],
    value: str,
    where: Mapping[str, str],
    spread: str,
) -> Pivot:
    both = [*asked[0], *asked[1]]
    runs, left_out = chosen(records, value, where)
    flats = [run.flat for run in runs]
    free = (*SILENT, "seed", *(key for word in both for key in keys_of(word, flats)))
    differing = [key for key in varied(flats, known(flats)) if not any(under(key, f) for f in free)]
    _refuse_mixed(flats, differing)
    names = {word: along(flats, word) for word in both}
    sides = list(zip(*(names[word] for word in asked[0]), strict=True))
    heads = list(zip(*(names[word] for word in asked[1]), strict=True)) if asked[1] else [()] * len(runs)
    cells, twins = _filled(runs, sides, heads, differing, both)
    found = Pivot(
        rows=tuple(asked[0]),
        columns=tuple(asked[1]),
        value=value,
        sides=_ordered(sides),
        heads=_ordered(heads),
        cells=cells,
        common=_common(flats, both),
        notes=(),
        spread=spread,
    )
    notes = (*_seeds(found), *_unequal(flats, differing), *left_out, *twins)
    return Pivot(**{**vars(found), "notes": notes})


def _words(given: str | Sequence[str]) -> list[str]:
    words = given.split(",") if isinstance(given, str) else given
    return [word.strip() for word in words if word.strip()]


def _ordered(labels: Sequence[Label]) -> tuple[Label, ...]:
    return tuple(sorted(dict.fromkeys(labels), key=lambda label: [_order(word) for word in label]))


def _order(word: str) -> tuple[Any, ...]:
    return reading_order(f"={word}" if word.replace(".", "").replace("-", "").isalnum() else word)


def _refuse_mixed(flats: Sequence[Flat], differing: Sequence[str]) -> None:
    """Raise an error if what must never be averaged, or stand side by side unsaid, differs."""
    for word, what in (("data", "data sets"), ("model", "networks")):
        keys = [key for key in differing if under(key, word)]
        if keys:
            key = next((key for key in keys if key.endswith(".name")), keys[0])
            raise IsopruneError(
                f"The runs are of different {what}: {_values(flats, key)}. Take one: --where "
                f"{key.removesuffix('.name')}={_first(flats, key)}; or put {word} into --rows or --columns."
            )


def _values(flats: Sequence[Flat], key: str) -> str:
    values = sorted({told(flat.get(key)) for flat in flats}, key=_order)
    shown = ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")
    return f"{key} is {shown}"


def _first(flats: Sequence[Flat], key: str) -> str:
    return next(told(flat[key]) for flat in flats if flat.get(key) is not None)


def _filled(
    runs: Sequence[Row],
    sides: Sequence[Label],
    heads: Sequence[Label],
    differing: Sequence[str],
    asked: Sequence[str],
) -> tuple[dict[tuple[Label, Label], dict[int, Number]], list[str]]:
    """Return the values of every cell by seed, and in words how many runs are there twice."""
    cells: dict[tuple[Label, Label], dict[int, Number]] = {}
    rests: dict[tuple[Label, Label], Flat] = {}
    twice = 0
    for run, side, head in zip(runs, sides, heads, strict=True):
        first = rests.setdefault((side, head), run.flat)
        for key in differing:
            if run.flat.get(key) != first.get(key):
                where = ", ".join(f"{w} = {name}" for w, name in zip(asked, (*side, *head), strict=True))
                word = next((w for w, keys in WORDS.items() if any(under(key, k) for k in keys)), key)
                raise IsopruneError(
                    f"The runs of one cell ({where}) are not equal: {_values([first, run.flat], key)}. Put "
                    f"{word} into --rows or --columns, or take one: --where {key.removesuffix('.name')}="
                    f"{_first([first, run.flat], key)}."
                )
        cell = cells.setdefault((side, head), {})
        seed = int(run.flat.get("seed") or 0)
        twice += seed in cell
        cell.setdefault(seed, run.value)
    said = f"{twice} run{'s' if twice != 1 else ''} left out: of a cell and seed that is there already."
    return cells, [said] if twice else []


def _common(flats: Sequence[Flat], asked: Sequence[str]) -> dict[str, str]:
    """Return what all runs share of what people ask first."""
    words = [
        word
        for word in ("data", "model", "criterion", "ratio", "repair", "lr", "epochs")
        if word not in asked
    ]
    found = {}
    for word in words:
        if not varied(flats, keys_of(word, flats)):
            label = along(flats[:1], word)[0]
            if not label.startswith("without"):
                found[word] = label
    return found


def _seeds(found: Pivot) -> list[str]:
    """Return how many seeds there are, and which are missing where."""
    unit = f"{found.value}{' in percent' if found.percent else ''}"
    everywhere = sorted({seed for seeds in found.cells.values() for seed in seeds})
    if len(everywhere) == 1 or max(map(len, found.cells.values())) == 1:
        return [
            f"{unit}. One seed in each cell: no spread can be told. Run more, as [study] seed = [0, 1, 2]."
        ]
    width = {"std": "mean ± standard deviation", "interval": "mean ± 95 % interval", "none": "mean"}[
        found.spread
    ]
    said = [f"{unit}, {width} over {len(everywhere)} seeds ({', '.join(map(str, everywhere))})."]
    short = {place: [s for s in everywhere if s not in seeds] for place, seeds in found.cells.items()}
    short = {place: seeds for place, seeds in short.items() if seeds}
    if short:
        told_of = [
            f"{', '.join((*side, *head))}: {', '.join(map(str, seeds))}"
            for (side, head), seeds in list(short.items())[:_TOLD]
        ]
        more = f"; and in {len(short) - _TOLD} more cells" if len(short) > _TOLD else ""
        said.append(f"Seeds are missing ({'; '.join(told_of)}{more}): run their study again.")
    empty = len(found.sides) * len(found.heads) - len(found.cells)
    return said + ([f"{empty} cell{'s' if empty > 1 else ''} without a run."] if empty else [])


def _unequal(flats: Sequence[Flat], differing: Sequence[str]) -> list[str]:
    """Return what is not equal from cell to cell and on no axis: a reader would take it for equal."""
    told_of = [_values(flats, key).replace(" is ", ": ", 1) for key in differing]
    return [f"Not equal in all cells: {'; '.join(told_of)}."] if told_of else []
