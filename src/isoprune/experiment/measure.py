"""What is measured of each network: accuracies, size, and the Jacobian's singular values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import Struct
from torch import Tensor, nn

from isoprune.experiment.seeds import jsv_inputs
from isoprune.experiment.step_types import Measuring
from isoprune.experiment.validation import plain, read
from isoprune.isometry import jacobian_singular_values, summary
from isoprune.training import evaluate
from isoprune.types import IsopruneError, Splits, Task
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json, write_json
from isoprune.types.record import Histogram

# Fixed, so that histograms of different networks share their bins; the outer ones hold what lies outside.
# Off the whole decades, so that 1, where an isometry's values lie but for rounding, is within a bin.
LOG10_RANGE = (-6.1, 1.9)


class Measured(Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured of a network; None stands for what is not finite, which JSON does not have."""

    metrics: dict[str, float | None]
    jsv: dict[str, float | None]
    jsv_histogram: Histogram


def measure(model: nn.Module, splits: Splits, measuring: Measuring, *, task: Task, seed: int) -> Measured:
    """Return what the task measures (accuracies are fractions of 1) and JSV of a network in eval mode.

    The JSV are those of fixed validation images, the same for every step and every repair.
    """
    sigma = jacobian_singular_values(model, jsv_inputs(splits.validation, measuring.samples, seed=seed))
    validation = evaluate(model, splits.validation, task=task)
    # The one line of the pipeline in which test data is touched: nothing is ever chosen by its number.
    test = evaluate(model, splits.test, task=task)
    metrics: dict[str, float | None] = {
        f"{part}_{name}": value
        for part, found in (("validation", validation), ("test", test))
        for name, value in found.items()
        if name != "loss"
    }
    return Measured(metrics, dict(summary(sigma)), histogram(sigma, bins=measuring.bins))


def histogram(sigma: Tensor, *, bins: int) -> Histogram:
    """Return counts of log10 of every singular value, in equal bins over ``LOG10_RANGE``.

    Values outside, zero included, count in the outer bins, so the counts add up to all values.
    """
    low, high = LOG10_RANGE
    # Rounded: -0.0000000000000001 is no place for an axis to begin.
    edges = [round(low + (high - low) * i / bins, 10) for i in range(bins + 1)]
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    place = torch.bucketize(sigma.double().log10().flatten(), inner, right=True)
    return Histogram(edges, torch.bincount(place, minlength=bins).tolist())


T = TypeVar("T")


def measured_once(path: Path, kind: type[T], measure: Callable[[], T], say: Callable[[str], object]) -> T:
    """Return the numbers in a file of a network's folder; if there are none, those that ``measure`` gives.

    What is damaged is measured again, and said.
    """
    try:
        return _read(path, kind)
    except FileNotFoundError:
        pass
    except DamagedFile as error:
        say(f"{error} It is measured again now.")
    write_json(path, {"of": path.parent.name, **plain(measure())})
    # As a later run will read it, so that the record does not depend on who measured.
    return _read(path, kind)


def _read(path: Path, kind: type[T]) -> T:
    facts: dict[str, Any] = read_json(path, remedy="")
    if facts.pop("of", None) != path.parent.name:
        raise DamagedFile(f"{path} is damaged: it is of another network.")
    try:
        return read(kind, facts)
    except IsopruneError as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
