"""What is measured of each stage: accuracies, size, and the Jacobian's singular values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isoprune.experiment.config import Measuring
from isoprune.experiment.seeds import jsv_inputs
from isoprune.isometry import jacobian_singular_values, summary
from isoprune.training import evaluate
from isoprune.types import Splits

# Fixed, so that histograms of different networks share their bins; the outer ones hold what lies outside.
# Off the whole decades, so that 1, where an isometry's values lie but for rounding, is within a bin.
LOG10_RANGE = (-6.1, 1.9)


def measure_stage(model: nn.Module, splits: Splits, measuring: Measuring, *, seed: int) -> dict[str, Any]:
    """Return accuracies (fractions in [0, 1]) and JSV of one stage; ``model`` is in eval mode.

    The JSV are those of fixed validation images, the same for every stage and every repair.
    """
    sigma = jacobian_singular_values(model, jsv_inputs(splits.validation, measuring.samples, seed=seed))
    # The one line of the pipeline in which test data is touched: nothing is ever chosen by its number.
    test = evaluate(model, splits.test)
    return {
        "validation_accuracy": evaluate(model, splits.validation)["accuracy"],
        "test_accuracy": test["accuracy"],
        "jsv": summary(sigma),
        "jsv_histogram": histogram(sigma, bins=measuring.bins),
    }


def histogram(sigma: Tensor, *, bins: int) -> dict[str, list]:
    """Return counts of log10 of every singular value, in equal bins over ``LOG10_RANGE``.

    Values outside, zero included, count in the outer bins, so the counts add up to all values.
    """
    low, high = LOG10_RANGE
    # Rounded: -0.0000000000000001 is no place for an axis to begin.
    edges = [round(low + (high - low) * i / bins, 10) for i in range(bins + 1)]
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    place = torch.bucketize(sigma.double().log10().flatten(), inner, right=True)
    return {"log10_edges": edges, "counts": torch.bincount(place, minlength=bins).tolist()}
