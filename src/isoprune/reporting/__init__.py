"""Records -> tables, sentences, figures and one web page; what is not in a record cannot be reported."""

from isoprune.records import load_records
from isoprune.reporting.advice_page import advice_page
from isoprune.reporting.diagnosis_page import diagnosis_page
from isoprune.reporting.export import export_figures, write_figure
from isoprune.reporting.live_page import live_page
from isoprune.reporting.page import report
from isoprune.reporting.sentences import explain
from isoprune.reporting.tables import markdown_table, terminal_table

__all__ = [
    "advice_page",
    "diagnosis_page",
    "explain",
    "export_figures",
    "live_page",
    "load_records",
    "markdown_table",
    "report",
    "terminal_table",
    "write_figure",
]
