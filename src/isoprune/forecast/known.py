"""What is known of a pruned network without measuring it."""

from __future__ import annotations

import math

import numpy as np

from isoprune.forecast.fitted import Numbers

# Of what is left of it, fractions of 1, and of how many samples it will be retrained on: to base ten.
KNOWN = ("log_parameters_left", "log_flops_left", "log_samples")
DENSE = "dense_accuracy"  # says how hard the data are


def known(parameters_left: float, flops_left: float, samples: float, dense_accuracy: float) -> Numbers:
    """Return the numbers of one network that need no measure."""
    logs = [math.log10(value) if value > 0 else math.nan for value in (parameters_left, flops_left, samples)]
    return {
        key: np.array([value]) for key, value in zip((*KNOWN, DENSE), (*logs, dense_accuracy), strict=True)
    }
