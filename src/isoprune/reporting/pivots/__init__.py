"""Tables for papers and reports: of any records, by any keys, as Markdown, LaTeX or CSV."""

from isoprune.reporting.pivots.formats import FORMATS as FORMATS
from isoprune.reporting.pivots.formats import as_csv as as_csv
from isoprune.reporting.pivots.formats import as_latex as as_latex
from isoprune.reporting.pivots.formats import as_markdown as as_markdown
from isoprune.reporting.pivots.pivot import Pivot as Pivot
from isoprune.reporting.pivots.pivot import pivot as pivot
from isoprune.reporting.pivots.query import SPREADS as SPREADS
