"""Does a higher mean JSV after pruning mean a higher accuracy after retraining? Over networks of a family."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from isoprune.comparison import text
from isoprune.comparison.records import flatten
from isoprune.comparison.records.frame import numbers_of
from isoprune.comparison.tau import tau_within
from isoprune.forecast.rows import MEASURED, SECONDS, at_best_rate, at_fixed_rate
from isoprune.reproduction.claims import Cells, Reproduction, Section, Test, Value, Verdict
from isoprune.reproduction.judges import corrected, decide_above, format_interval, format_p, undecided
from isoprune.types.record import Record
from isoprune.types.tables import Table

_TAU = Value("Kendall's tau", "", percent=False)
_REACHED = "accuracy after retraining"
_PERCENT = 100


def jsv_foretells(_: Reproduction, cells: Cells) -> Verdict:
    """Return the verdict that tau between mean JSV and accuracy reached is above zero, wherever judged."""
    rows = rows_of(cells)
    found = taus(_at(at_best_rate, rows), "jsv", "mean JSV after pruning") if rows else ()
    verdict = undecided(found) or decide_above(found, of="networks")
    return Verdict(verdict.word, verdict.because)  # The section has the numbers: they are over networks.


def _at(rate: Callable[[pl.DataFrame], pl.DataFrame], rows: Sequence[Row]) -> Sequence[Row]:
    """Return the row of each network and budget that ``rate`` chooses."""
    return rate(pl.DataFrame(rows, infer_schema_length=None)).to_dicts()


def taus(rows: Sequence[Row], number: str, name: str) -> tuple[Test, ...]:
    """Return of each family and budget how far a number orders networks by what they reach.

    Networks are compared where data and ratio are the same; the interval is over networks, p corrected for
    the number of families and budgets.
    """
    tests = []
    settings = {(row["family"], row["budget"]) for row in rows}
    for family, budget in sorted(settings, key=lambda one: (one[0], one[1] != "short")):
        own = [row for row in rows if (row["family"], row["budget"]) == (family, budget)]
        tau = tau_within(
            [math.nan if row.get(number) is None else row[number] for row in own],
            [row["accuracy"] for row in own],
            cells=[(row["data"], row["ratio"]) for row in own],
            networks=[row["network"] for row in own],
        )
        tests.append(
            Test(
                panel=family, first=name, second=_REACHED, column=budget, seeds=tau.networks, n=tau.networks,
                mean=tau.value, low=tau.low, high=tau.high, p=tau.p, published=None, value=_TAU,
            )
        )  # fmt: skip
    return corrected(tests)


def forecast_sections(cells: Cells) -> list[Section]:
    """Return the taus that the claim is judged by, beside those of its rival, and what was run."""
    rows = rows_of(cells)
    return [_judged(rows), _run(rows)] if rows else []


def _judged(rows: Sequence[Row]) -> Section:
    best, middle = _at(at_best_rate, rows), _at(at_fixed_rate, rows)
    found = [
        taus(best, "jsv", "mean JSV after pruning"),
        taus(middle, "jsv", "mean JSV after pruning"),
        taus(best, "before_accuracy", "accuracy before retraining"),
    ]
    lines = []
    for tests in zip(*found, strict=True):
        first = tests[0]
        verdict = undecided([first]) or decide_above((first,), of="networks")
        intervals = [_format_test(t) for t in tests]
        lines.append((first.panel, first.column, str(first.n), intervals[0], format_p(first.corrected),
                      verdict.word, *intervals[1:]))  # fmt: skip
    head = ("network", "budget", "networks", "tau: JSV, best rate", "p (Holm)", "verdict",
            "tau: JSV, one rate", "tau: accuracy before, best rate")  # fmt: skip
    lead = (
        "Kendall's tau between the mean JSV right before retraining and the accuracy after it, over pairs of "
        "networks of one data set and ratio; 95 % bootstrap interval over networks. 1: a higher JSV always "
        "means a higher accuracy; 0: it says nothing. Best rate: of three, by validation accuracy; one rate: "
        "the middle one for all. Last column: the same of the accuracy before retraining."
    )
    title = "Does a higher mean JSV mean a higher accuracy after retraining?"
    return Section(title, lead, Table(head, tuple(lines), words=2))


def _run(rows: Sequence[Row]) -> Section:
    best = _at(at_best_rate, rows)
    lines = []
    for family, data in sorted({(row["family"], row["data"]) for row in rows}):
        own = [row for row in best if (row["family"], row["data"]) == (family, data)]
        networks = {row["network"]: row for row in own}.values()
        dense = {row["seed"]: row["dense_accuracy"] for row in own}.values()
        lines.append((
            family, data, str(len(networks)), f"{_PERCENT * statistics.fmean(dense):.1f}",
            _quartiles([row["before_accuracy"] for row in networks]),
            *(_quartiles([r["accuracy"] for r in own if r["budget"] == b]) for b in ("short", "full")),
            *(_median([r["seconds"] for r in own if r["budget"] == b]) for b in ("short", "full")),
            _median([sum(v for k, v in row.items() if k.startswith(SECONDS) and v) for row in networks]),
        ))  # fmt: skip
    head = ("network", "data", "networks", "dense %", "before %", "short %", "full %", "s short", "s full",
            "s measures")  # fmt: skip
    lead = (
        "Median (quartiles) of accuracies over networks, at the best of three rates; medians of the seconds "
        "of one retraining and of all measures of a network, by the clock."
    )
    return Section("What was run", lead, Table(head, tuple(lines), words=2))


def _format_test(test: Test) -> str:
    return f"{test.mean:+.2f} ({format_interval(test)})".replace("-", "−") if test.tells else text.MISSING


def _quartiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{_PERCENT * values[0]:.1f}" if values else text.MISSING
    low, middle, high = (_PERCENT * v for v in statistics.quantiles(values, n=4, method="inclusive"))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else text.MISSING


Row = Mapping[str, Any]
_MEASURE, _MEASURE_SECONDS = "repaired.measure.", "repaired.measure_seconds."


def rows_of(cells: Cells) -> list[Row]:
    """Return the rows of all records that stand in ``cells``."""
    return forecast_rows([record for seeds in cells.values() for record in seeds.values()])


def forecast_rows(records: Sequence[Record]) -> list[Row]:
    """Return a row for each record.

    ``network`` is the digest of what is retrained; budgets are "short", the fewest epochs of all records,
    and "full". Accuracies are fractions of 1 on test data, but for ``validation_accuracy``, by which a rate
    may be chosen; ``parameters_left`` (that are not zero) and ``flops_left`` are fractions of the dense
    network's; ``jsv`` is the mean JSV before retraining, ``seconds`` are those of the retraining.
    """
    flats = [flatten(record.config) for record in records]
    short = min((flat["retrain.epochs"] for flat in flats), default=0)
    rows = []
    for record, flat in zip(records, flats, strict=True):
        numbers = numbers_of(record)
        rows.append(
            {
                "network": numbers["repaired.digest"],
                "family": flat["model.name"],
                "data": flat["data.name"],
                "grain": flat["prune.grain"],
                "criterion": flat["prune.criterion.name"],
                "repair": flat["repair.name"],
                "ratio": flat["prune.ratio"],
                "seed": flat["seed"],
                "budget": "short" if flat["retrain.epochs"] == short else "full",
                "samples": numbers["retrained.training.samples"],
                "lr": flat["retrain.lr"],
                "dense_accuracy": numbers["dense.test_accuracy"],
                "before_accuracy": numbers["repaired.test_accuracy"],
                "accuracy": numbers["retrained.test_accuracy"],
                "validation_accuracy": numbers["retrained.validation_accuracy"],
                "seconds": numbers["retrained.seconds"],
                "parameters_left": numbers["repaired.nonzero"] / numbers["dense.parameters"],
                "flops_left": numbers["repaired.flops"] / numbers["dense.flops"],
                "jsv": numbers["repaired.jsv.mean"],
                **_below(numbers, _MEASURE, MEASURED),
                **_below(numbers, _MEASURE_SECONDS, SECONDS),
            }
        )
    return rows


def _below(numbers: Mapping[str, Any], prefix: str, short: str) -> dict[str, Any]:
    return {short + key.removeprefix(prefix): v for key, v in numbers.items() if key.startswith(prefix)}
