"""The rows that a forecast is fitted and judged on: one for each retraining of each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoprune.comparison.records import flatten
from isoprune.comparison.records.frame import numbers_of
from isoprune.forecast.rows import MEASURED, SECONDS
from isoprune.reproduction.claims import Cells
from isoprune.types.record import Record

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
