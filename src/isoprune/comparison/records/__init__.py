"""Records from disk, and what is in them by name: what reports, comparisons and tables are made of."""

from isoprune.comparison.records.flat_config import Number, flatten, number
from isoprune.comparison.records.ignored_keys import SILENT
from isoprune.comparison.records.labels import (
    UNSET,
    VALUES,
    WORDS,
    labels,
    path_of,
    reading_order,
    told,
    under,
    varied,
)
from isoprune.comparison.records.read import Record, check_records, load_records

__all__ = [
    "SILENT",
    "UNSET",
    "VALUES",
    "WORDS",
    "Number",
    "Record",
    "check_records",
    "flatten",
    "labels",
    "load_records",
    "number",
    "path_of",
    "reading_order",
    "told",
    "under",
    "varied",
]
