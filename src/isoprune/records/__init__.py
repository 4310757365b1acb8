"""Records from disk, and what is in them by name: what reports, comparisons and tables are made of."""

from isoprune.records.flat import Number, flatten, number
from isoprune.records.labels import UNSET, VALUES, WORDS, labels, path_of, reading_order, told, under, varied
from isoprune.records.read import Record, check_records, load_records
from isoprune.records.silent import SILENT

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
