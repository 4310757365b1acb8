"""Tables for people who write: of any records, by any keys, as Markdown, LaTeX or CSV."""

from isoprune.tables.pivot import Pivot, pivot
from isoprune.tables.query import SPREADS
from isoprune.tables.table import Table, markdown
from isoprune.tables.written import FORMATS, as_csv, as_latex, as_markdown

__all__ = [
    "FORMATS",
    "SPREADS",
    "Pivot",
    "Table",
    "as_csv",
    "as_latex",
    "as_markdown",
    "markdown",
    "pivot",
]
