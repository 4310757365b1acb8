"""What is measured of each network: accuracies, size, and the Jacobian's singular values."""

from __future__ import annotations

import torch
from msgspec import Struct
from torch import Tensor, nn

from isoprune.experiment.seeds import jsv_inputs
from isoprune.experiment.step_types import Measuring
from isoprune.isometry import jacobian_singular_values, summary
from isoprune.training import evaluate
from isoprune.types import Splits, Task
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
