"""The rows of the study: one retraining each, with what was measured of the network just before it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_file

MEASURED, SECONDS = "m.", "s."  # what the columns of measured numbers, and of a measure's seconds, begin with
LARGEST = 2**28  # bytes: hundreds of thousands of rows
_WORDS = ("network", "family", "data", "grain", "criterion", "repair", "budget")
_NUMBERS = (
    "ratio", "samples", "lr", "dense_accuracy", "before_accuracy", "accuracy", "validation_accuracy",
    "seconds", "parameters_left", "flops_left",
)  # fmt: skip
POINTS = "points"  # of accuracy that a retrained network is below the dense one


def read_rows(path: Path) -> tuple[pl.DataFrame, str]:
    """Return the rows of a study (CSV), one a retraining, and the SHA-256 of the file.

    Raises:
        IsopruneError: If the file is no such table, or a number in it is none.
    """
    try:
        content = read_file(path, most=LARGEST)
    except FileNotFoundError:
        raise IsopruneError(
            f"There is no file {path}. Give the rows of a study: docs/reproductions/forecast.csv."
        ) from None
    try:
        frame = pl.read_csv(content, infer_schema_length=0)
    except pl.exceptions.PolarsError as error:
        raise IsopruneError(
            f"{path} is no table of rows ({str(error).splitlines()[0]}). Give a CSV file."
        ) from None
    if missing := [name for name in (*_WORDS, *_NUMBERS) if name not in frame.columns]:
        raise IsopruneError(f"{path} has no column {missing[0]}. Give the rows of a study of forecasts.")
    measured = [name for name in frame.columns if name.startswith((MEASURED, SECONDS))]
    try:
        frame = frame.with_columns(pl.col(*_NUMBERS, *measured).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise IsopruneError(f"{path} has what is not a number: {str(error).splitlines()[0]}.") from None
    if empty := [name for name in _NUMBERS if frame[name].null_count()]:
        raise IsopruneError(f"{path} has a row without {empty[0]}. Leave out what was not retrained.")
    reached = pl.col("accuracy")
    return frame.with_columns((100 * (pl.col("dense_accuracy") - reached)).alias(POINTS)), _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def at_best_rate(rows: pl.DataFrame) -> pl.DataFrame:
    """Return of each network and budget the retraining with the highest validation accuracy.

    Of several that reach it, the one with the largest rate.
    """
    order = rows.sort("network", "budget", "validation_accuracy", "lr")
    return order.group_by("network", "budget", maintain_order=True).last()


def at_fixed_rate(rows: pl.DataFrame) -> pl.DataFrame:
    """Return of each network and budget the retraining with the middle one of its family's rates."""
    middle = rows.group_by("family").agg(pl.col("lr").unique().sort().get(pl.col("lr").n_unique() // 2))
    own = rows.join(middle, on=("family", "lr"), how="semi")
    return own.sort("network", "budget").unique(("network", "budget"), keep="first", maintain_order=True)
