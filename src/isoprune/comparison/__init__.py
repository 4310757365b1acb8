"""Fair comparison: which setup two runs share, the controls from scratch, differences paired by seed."""

from isoprune.comparison.compare import Comparison, compare
from isoprune.comparison.cross import Cross
from isoprune.comparison.difference import Difference
from isoprune.comparison.grade import Grade, setup_of
from isoprune.comparison.methods import FAMILIES
from isoprune.comparison.pairs import UnfairComparison
from isoprune.comparison.scratch import scratch_b, scratch_e, train_samples
from isoprune.comparison.setups import Setup, read_setup
from isoprune.comparison.words import COLUMNS, as_dict, rows, sentences

__all__ = [
    "COLUMNS",
    "FAMILIES",
    "Comparison",
    "Cross",
    "Difference",
    "Grade",
    "Setup",
    "UnfairComparison",
    "as_dict",
    "compare",
    "read_setup",
    "rows",
    "scratch_b",
    "scratch_e",
    "sentences",
    "setup_of",
    "train_samples",
]
