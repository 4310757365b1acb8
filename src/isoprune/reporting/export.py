"""The page's figures as files: PDF, SVG, PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import vl_convert

from isoprune.comparison import text
from isoprune.reporting import connectivity_figures, figures, theme
from isoprune.reporting.charts import VEGA_LITE, Figure, specification
from isoprune.reporting.study import Cell, grouped, make_cells
from isoprune.types.errors import check_known
from isoprune.types.files import write_output
from isoprune.types.record import Record

WIDTH = 560
_PNG_SCALE = 2.0


def export_figures(
    records: Sequence[Record],
    out_dir: str | Path,
    formats: Sequence[str] = ("pdf", "svg", "png"),
    *,
    width: int = WIDTH,
    titled: bool = True,
) -> list[Path]:
    """Write every figure of the page into ``out_dir`` and return the files' paths.

    One file per figure and format: ``jsv_vs_ratio``, and per network and ratio ``singular_values``,
    ``final_accuracy``, ``accuracy_per_epoch``, ``jsv_per_epoch`` and ``frontier``; per network
    ``accuracy_vs_size``; per setting ``error_between_rounds`` and ``error_between_copies``.

    Args:
        width: Of each figure, axes and legend included, in pixels.
        titled: Whether the title stands in the figure, or in the paper's caption.

    Raises:
        IsopruneError: If a format is unknown, a file cannot be written, or the records are not records.
    """
    for form in formats:
        check_known(form, WRITERS, "format")
    charts = _charts(make_cells(records))
    paths = []
    for name, title, chart in charts:
        shown = title if titled else ""
        paths += [
            write_figure(chart, Path(out_dir) / f"{name}.{form}", title=shown, width=width)
            for form in formats
        ]
    return paths


def write_figure(figure: Figure, file: str | Path, *, title: str, width: int = WIDTH) -> Path:
    """Write one figure on white, in the format that ``file`` ends with: .pdf, .svg or .png. "": no title.

    Raises:
        IsopruneError: If it cannot be written.
    """
    spec = specification(figure, width=width, title=title)
    spec["config"] = {**theme.config(), "background": "white", "padding": 12}
    return write_picture(spec, Path(file))


def write_picture(spec: dict[str, Any], file: Path) -> Path:
    """Write a Vega-Lite specification as a picture, in the format that ``file`` ends with.

    Raises:
        IsopruneError: If it cannot be written.
    """
    made = WRITERS[file.suffix.removeprefix(".")](spec, vl_version=VEGA_LITE)
    return write_output(made, file, what="figure")


def _charts(cells: Sequence[Cell]) -> list[tuple[str, str, Figure]]:
    """Return the figures that these cells allow: file name, title, chart."""
    made = [("jsv_vs_ratio", "Mean JSV against ratio", figures.jsv_against_ratio(cells))]
    for network, here in grouped(cells, "network").items():
        kind = figures.BY_SIZE
        made.append((f"{kind.file}_{_file_name(network)}", f"{kind.title}: {network}", kind.make(here)))
    for (network, ratio), here in grouped(cells, "network", "ratio").items():
        ending = f"{_file_name(network)}_ratio_{text.plain(ratio)}"
        made += [
            (f"{kind.file}_{ending}", f"{kind.title}: {network}, ratio {text.plain(ratio)}", kind.make(here))
            for kind in (*figures.OF_A_NETWORK, figures.BY_BUDGET)
        ]
    lines = connectivity_figures.lines(cells)
    made += [
        (f"error_{kind.file}_{_file_name(name)}", f"Error on the line from {kind.start}: {name}", chart)
        for kind, name, chart in connectivity_figures.drawn(lines)
    ]
    return [(name, title, chart) for name, title, chart in made if chart is not None]


def _file_name(words: str) -> str:
    return re.sub(r"[^\w.-]+", "_", words)[:80].strip("_.") or "network"


WRITERS = {
    "pdf": vl_convert.vegalite_to_pdf,
    "svg": vl_convert.vegalite_to_svg,
    "png": partial(vl_convert.vegalite_to_png, scale=_PNG_SCALE),
}
