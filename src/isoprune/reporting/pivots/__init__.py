"""Tables for papers and reports: of any records, by any keys, as Markdown, LaTeX or CSV."""

from isoprune.reporting.pivots.formats import FORMATS, as_csv, as_latex, as_markdown
from isoprune.reporting.pivots.pivot import Pivot, pivot
from isoprune.reporting.pivots.query import SPREADS
from isoprune.reporting.pivots.table import Table, markdown, prose, terminal

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
    "prose",
    "terminal",
]
