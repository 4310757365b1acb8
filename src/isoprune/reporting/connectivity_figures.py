"""Paths between networks -> charts of the error on the line, and a table of its barriers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import altair as alt

from isoprune.comparison import text
from isoprune.comparison.statistics import summarize
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, table
from isoprune.reporting.series import retrained_series
from isoprune.reporting.study import Cell
from isoprune.types.record import ErrorPath, NetworkRecord
from isoprune.types.tables import Table

_COLOURS = (theme.INK, theme.GREEN, theme.RED, theme.BLUE, theme.PURPLE, theme.ORANGE, theme.SKY)


class _Kind(NamedTuple):
    """A field of a record's networks; how the table names its start, charts its ends, and files both."""

    field: str
    start: str
    ends: str
    file: str


KINDS = (
    _Kind("barrier", "the network before", "the network before and the retrained one", "between_rounds"),
    _Kind("instability", "a copy in another order", "two copies", "between_copies"),
)


@dataclass(frozen=True)
class Line:
    """The lines to the networks of one step, of all seeds: those whose errors are finite, of equal points."""

    cell: Cell
    series: str
    kind: _Kind
    end: str
    paths: Sequence[ErrorPath]

    @property
    def mean(self) -> dict[str, Any]:
        """The mean over the seeds, as `error_paths` draws it."""
        first = self.paths[0]
        columns = zip(*(path.errors for path in self.paths), strict=True)
        errors = [fmean(error for error in at if error is not None) for at in columns]
        rows = [{"place": i / (len(errors) - 1), "error": error} for i, error in enumerate(errors)]
        barrier = fmean(path.barrier for path in self.paths if path.barrier is not None)
        return {"metric": first.metric, "loss": first.loss, "barrier": barrier, "rows": rows}


def error_paths(paths: Mapping[str, Mapping[str, Any]], *, ends: str = "two copies") -> Figure:
    """Return the error against the place on the line, one curve a path, named with its barrier.

    Args:
        paths: Name -> what `LinearPath.as_dict` gives.
        ends: What lies at 0 and at 1.
    """
    loss = any(path["loss"] for path in paths.values())
    scale, unit, digits = (1, "", ".3g") if loss else (100, " points", ".1f")
    names = {
        name: f"{name}: barrier {scale * path['barrier']:{digits}}{unit}" for name, path in paths.items()
    }
    rows = [
        {"place": row["place"], "error": scale * row["error"], "path": names[name]}
        for name, path in paths.items()
        for row in path["rows"]
    ]
    metric = next(iter(paths.values()))["metric"]
    title = metric if loss else f"error (1 − {metric}), %"
    colours = dict(zip(names.values(), itertools.cycle(_COLOURS), strict=False))
    x = alt.X("place:Q", title=f"place between {ends}", axis=alt.Axis(tickCount=5))
    y = alt.Y("error:Q", title=title, scale=alt.Scale(zero=False))
    legend = alt.Legend(title=None, orient="top", labelLimit=400, columns=1, offset=36)
    base = table("rows").encode(x=x, y=y, color=in_colours("path", colours, legend))
    if len(colours) > len(_COLOURS):  # The second time round the colours, each has another dash.
        dashes = [theme.DASHES[i // len(_COLOURS) % len(theme.DASHES)] for i in range(len(colours))]
        scaled = alt.Scale(domain=list(colours), range=[list(dash) for dash in dashes])
        base = base.encode(strokeDash=alt.StrokeDash("path:N", scale=scaled, legend=legend))
    marks: list[Any] = [base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=40, opacity=1)]
    return Figure(alt.LayerChart(layer=marks).properties(height=260), {"rows": rows})


def lines(cells: Sequence[Cell]) -> list[Line]:
    """Return the lines to every retrained network of every setting: of rounds, round after round."""
    found = []
    for entry, members in retrained_series(cells).items():
        for cell, kind in itertools.product(members, KINDS):
            steps: dict[int, list[tuple[NetworkRecord, ErrorPath]]] = {}
            for network in (network for record in cell.records for network in record.networks):
                path: ErrorPath | None = getattr(network, kind.field)
                if path is not None and path.barrier is not None:
                    steps.setdefault(network.step, []).append((network, path))
            for _, made in sorted(steps.items()):
                network, first = made[0]
                end = f"{network.role}, round {network.round}" if network.round else network.role
                same = [path for _, path in made if len(path.errors) == len(first.errors)]
                found.append(Line(cell, entry.label, kind, end, same))
    return found


def drawn(lines: Sequence[Line]) -> Iterator[tuple[_Kind, str, Figure]]:
    """Yield for every setting and kind of line its name, and the chart of all rounds."""
    for (cell, kind), own in itertools.groupby(lines, lambda line: (line.cell, line.kind)):
        of_cell = list(own)
        paths = {line.end: line.mean for line in of_cell}
        name = f"{cell.network}, ratio {text.plain(cell.ratio)}, {of_cell[0].series}"
        yield kind, name, error_paths(paths, ends=kind.ends)


def barriers(lines: Sequence[Line]) -> Table:
    """Return the errors at the ends and the barriers of all lines, mean and std over seeds."""
    rows = []
    for line in lines:
        columns = zip(
            *((p.errors[0], p.errors[-1], p.barrier, p.above_line) for p in line.paths), strict=True
        )
        spreads = [_spread([x for x in column if x is not None], line.paths[0].loss) for column in columns]
        ratio = text.plain(line.cell.ratio)
        named = (line.cell.network, line.series, ratio, line.kind.start, line.end)
        rows.append((*named, str(len(line.paths)), *spreads))
    head = ("network", "series", "ratio", "from", "to", "n")
    return Table((*head, "error at 0", "error at 1", "barrier", "above the line"), tuple(rows), words=5)


def _spread(values: Sequence[float], loss: bool) -> str:
    summary = summarize(values)
    if not loss:
        return text.percent(summary)
    return text.number(summary.mean) + (f" ± {text.number(summary.std)}" if summary.n > 1 else "")
