"""The page's figures as files: PDF, SVG, PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from isoprune.comparison import text
from isoprune.reporting import figures, theme
from isoprune.reporting.study import Cell, make_cells, unique
from isoprune.types import IsopruneError
from isoprune.types.files import write_atomic
from isoprune.types.record import Record

_WIDTH = 560
_PNG_SCALE = 2.0


def export_figures(
    records: Sequence[Record], out_dir: Path, formats: Sequence[str] = ("pdf", "svg", "png")
) -> list[Path]:
    """Write every figure of the page into ``out_dir`` and return the files' paths.

    One file per figure and format: ``jsv_vs_ratio``, and per network and ratio ``singular_values``,
    ``final_accuracy``, ``accuracy_per_epoch``, ``jsv_per_epoch`` and ``frontier``.

    Raises:
        IsopruneError: If a format is unknown, a file cannot be written, or the records are not records.
    """
    unknown = [form for form in formats if form not in WRITERS]
    if unknown:
        raise IsopruneError(f"Unknown format {unknown[0]!r}. Known: {', '.join(WRITERS)}.")
    charts = _charts(make_cells(records))
    paths = []
    for name, title, chart in charts:
        paths += [write_figure(chart, out_dir / f"{name}.{form}", title=title) for form in formats]
    return paths


def write_figure(figure: figures.Figure, file: Path, *, title: str) -> Path:
    """Write one figure on white, in the format that ``file`` ends with: .pdf, .svg or .png.

    Raises:
        IsopruneError: If it cannot be written.
    """
    spec = figures.specification(figure, width=_WIDTH, title=title)
    spec["config"] = {**theme.config(), "background": "white", "padding": 12}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, WRITERS[file.suffix.removeprefix(".")](spec))
    except OSError as error:
        raise IsopruneError(
            f"The figure cannot be written to {file}: {error.strerror}. Give another place for it."
        ) from error
    return file


def _charts(cells: Sequence[Cell]) -> list[tuple[str, str, figures.Figure]]:
    """Return the figures that these cells allow: file name, title, chart."""
    made = [("jsv_vs_ratio", "Mean JSV against ratio", figures.jsv_against_ratio(cells))]
    for network, ratio in unique((cell.network, cell.ratio) for cell in cells):
        here = [cell for cell in cells if (cell.network, cell.ratio) == (network, ratio)]
        ending = f"{_file_name(network)}_ratio_{text.plain(ratio)}"
        place = f"{network}, ratio {text.plain(ratio)}"
        made += [
            (
                f"singular_values_{ending}",
                f"Singular values of the Jacobian: {place}",
                figures.singular_values(here),
            ),
            (f"final_accuracy_{ending}", f"Where retraining ends: {place}", figures.final_accuracy(here)),
            (
                f"accuracy_per_epoch_{ending}",
                f"Accuracy while retraining: {place}",
                figures.accuracy_per_epoch(here),
            ),
            (
                f"frontier_{ending}",
                f"Accuracy against the budget of retraining: {place}",
                figures.accuracy_against_budget(here),
            ),
            (f"jsv_per_epoch_{ending}", f"Mean JSV while retraining: {place}", figures.jsv_per_epoch(here)),
        ]
    return [(name, title, chart) for name, title, chart in made if chart is not None]


def _file_name(words: str) -> str:
    return re.sub(r"[^\w.-]+", "_", words).strip("_.") or "network"


def _version() -> str:
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _svg(spec: dict[str, Any]) -> bytes:
    return vl_convert.vegalite_to_svg(spec, vl_version=_version()).encode()


def _png(spec: dict[str, Any]) -> bytes:
    return vl_convert.vegalite_to_png(spec, vl_version=_version(), scale=_PNG_SCALE)


def _pdf(spec: dict[str, Any]) -> bytes:
    return vl_convert.vegalite_to_pdf(spec, vl_version=_version())


WRITERS = {"pdf": _pdf, "svg": _svg, "png": _png}
