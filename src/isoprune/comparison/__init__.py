"""Fair comparison: which setup two runs share, the controls from scratch, differences paired by seed."""

from isoprune.comparison.grade import Grade, setup_of
from isoprune.comparison.scratch import scratch_b, scratch_e, train_samples
from isoprune.comparison.setups import Setup, read_setup
from isoprune.comparison.unfair import UnfairComparison

__all__ = [
    "Grade",
    "Setup",
    "UnfairComparison",
    "read_setup",
    "scratch_b",
    "scratch_e",
    "setup_of",
    "train_samples",
]
