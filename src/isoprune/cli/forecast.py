"""`isoprune forecast`."""

from __future__ import annotations

from pathlib import Path

from isoprune.cli.console import error_console, say
from isoprune.cli.options import Again, check_out
from isoprune.types.files import write_output


def forecast(
    rows: Path,
    /,
    *,
    out: Path = Path("fitted.json"),
    page: Path | None = None,
    figure: Path | None = None,
    again: Again,
) -> None:
    """Fit the forecast of retrained accuracy on a study's networks, and judge it on those left out.

    ROWS is a table (CSV) of retrainings with what was measured before each, as isoprune reproduce forecast
    writes it. The forecast goes to --out: give that to isoprune diagnose as --fitted, in place of the one
    that comes with isoprune. The same rows give the same bytes.

    example:
      isoprune forecast docs/reproductions/forecast.csv --out fitted.json --page forecast.md

    Args:
        rows: The table.
        out: The fitted forecast (.json).
        page: Also the verdict on every measure (.md): what stands there between two lines
            "<!-- isoprune forecast -->" is replaced.
        figure: Also accuracy against the four best measures (.svg, .png, .pdf).
    """
    check_out(out, (".json",), "fitted.json")
    with error_console().status("Judging"):
        from isoprune.forecast import write_fitted
        from isoprune.reporting.export import write_picture
        from isoprune.reproduction.forecasts import page as pages
        from isoprune.reproduction.forecasts.measure_names import measure_of

        found = pages.judge(rows, measure_of())
        write_output(write_fitted(found.fitted), out, what="forecast")
        if page is not None:
            pages.replace_in(page, pages.page(found, rows=rows.name, command=again))
        if figure is not None:
            write_picture(pages.reached_against_measures(found.rows, found.measures), figure)
    say(*pages.sentences(found), f"Written: {out}")
