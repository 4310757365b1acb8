"""`isoprune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from isoprune.cli.console import error_console, output_console, say
from isoprune.cli.options import listed
from isoprune.types.errors import IsopruneError, check_known
from isoprune.types.files import write_output

FIGURES = ("pdf", "svg", "png")
TABLES = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
_OfTable = Parameter(group=Group("A table instead of the page", sort_key=1))


def report(
    paths: tuple[str, ...],
    /,
    *,
    out: Path | None = None,
    figures: str = "",
    figure_width: Annotated[int | None, Parameter(validator=Number(gte=120, lte=2000))] = None,
    untitled: bool = False,
    title: str | None = None,
    rows: Annotated[str | None, _OfTable] = None,
    columns: Annotated[str | None, _OfTable] = None,
    value: Annotated[str | None, _OfTable] = None,
    where: Annotated[tuple[str, ...] | None, _OfTable] = None,
    spread: Annotated[str | None, _OfTable] = None,
    format: Annotated[str | None, _OfTable] = None,
) -> None:
    """Make one self-contained web page of records (figures, tables, sentences, every config), or one table.

    Give a store (all its runs), a study of a store (runs/studies/<name>.json), or single record.json files.
    The page works offline; the same figures can be had as files. With --rows: no page but a table.

    example:
      isoprune report runs --out page.html
      isoprune report runs/studies/lr_effect.json --out lr_effect.html --figures pdf,svg,png
      isoprune report runs --rows ratio --columns repair,lr --value test_accuracy --out table.tex

    Args:
        paths: Stores, studies or records; URLs too.
        out: The page (report.html), or the table as .md, .tex or .csv (printed).
        figures: Also as files: pdf,svg,png.
        figure_width: Of each, in pixels (560); 250 fits a column of a paper.
        untitled: Figures without their titles, which a caption says.
        title: Of the page (the study's name).
        rows: model, data, ratio, criterion, penalty, allocation, repair, lr, optimizer, schedule, epochs,
            distill, seed, or keys of the config; several with commas.
        columns: The same, across.
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv (after retraining), or a
            number by its role, as repaired.test_accuracy (test_accuracy).
        where: Only these runs: WORD=VALUE, as ratio=0.5,0.9 (may be repeated).
        spread: std, interval (95 %) or none (std).
        format: markdown, latex or csv (by the suffix of --out, or markdown).
    """
    of_table = {"columns": columns, "value": value, "where": where, "spread": spread, "format": format}
    given = [option for option, text in of_table.items() if text is not None]
    if rows is None:
        if given:
            raise IsopruneError(f"--{given[0]} is for a table. Give its rows too, as --rows ratio.")
        shape = {"width": figure_width} if figure_width else {}
        shape |= {"titled": False} if untitled else {}
        if shape and not figures:
            raise IsopruneError("--figure-width and --untitled are for figures. Say which, as --figures pdf.")
        return _page(paths, out or Path("report.html"), listed(figures), title, shape)
    if figures or title or figure_width or untitled:
        raise IsopruneError("--figures and --title are for a page, --rows for a table. Take one of the two.")
    conditions = dict(map(_condition, where or ()))
    how = {"rows": rows, "columns": columns or (), "where": conditions, "spread": spread or "std"}
    text = _table(paths, value or "test_accuracy", _format(format, out), how)
    if out is None:
        return output_console().out(text, end="", highlight=False)
    write_output(text, out)
    return say(f"Table: {out.resolve()}")


def _page(
    paths: tuple[str, ...], out: Path, formats: list[str], title: str | None, shape: dict[str, Any]
) -> None:
    for word in formats:
        check_known(word, FIGURES, "figure format")
    from isoprune import reporting
    from isoprune.comparison.records import read_records

    records = read_records(*paths)
    with error_console().status("Drawing"):
        page = reporting.report(records, out, title=title)
        drawn = reporting.export_figures(records, page.parent, formats, **shape) if formats else []
    say(f"Page: {page.resolve()}", *(f"Figure: {file}" for file in drawn))


def _table(paths: tuple[str, ...], value: str, form: str, how: dict[str, Any]) -> str:
    from isoprune.comparison.records import read_outlines
    from isoprune.reporting.pivots import FORMATS, pivot
    from isoprune.types.collector import uncollected

    check_known(form, FORMATS, "format")
    with uncollected():
        return FORMATS[form](pivot(read_outlines(*paths), value=value, **how))


def _format(word: str | None, out: Path | None) -> str:
    if word is not None:
        return word
    if out is None:
        return "markdown"
    if out.suffix not in TABLES:
        raise IsopruneError(
            f"--out {out}: a table is a file .md, .tex or .csv. Give one of them, or --format."
        )
    return TABLES[out.suffix]


def _condition(text: str) -> tuple[str, str]:
    word, equals, value = text.partition("=")
    if not (word.strip() and equals and value.strip()):
        raise IsopruneError(f"--where {text!r} is no condition. Write --where WORD=VALUE, as ratio=0.9.")
    return word.strip(), value.strip()
