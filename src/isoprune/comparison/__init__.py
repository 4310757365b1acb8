"""Fair comparison: which setup two runs share, the controls from scratch, differences paired by seed."""

from isoprune.comparison.compare import Comparison as Comparison
from isoprune.comparison.compare import compare as compare
from isoprune.comparison.cross import Cross as Cross
from isoprune.comparison.difference import Difference as Difference
from isoprune.comparison.grade import Grade as Grade
from isoprune.comparison.grade import setup_of as setup_of
from isoprune.comparison.methods import FAMILIES as FAMILIES
from isoprune.comparison.pairs import UnfairComparison as UnfairComparison
from isoprune.comparison.scratch import scratch_b as scratch_b
from isoprune.comparison.scratch import scratch_e as scratch_e
from isoprune.comparison.scratch import train_samples as train_samples
from isoprune.comparison.setups import Setup as Setup
from isoprune.comparison.setups import read_setup as read_setup
from isoprune.comparison.words import COLUMNS as COLUMNS
from isoprune.comparison.words import as_dict as as_dict
from isoprune.comparison.words import rows as rows
from isoprune.comparison.words import sentences as sentences
