"""The accuracy reached against each of the measures that order networks best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from isoprune.forecast.columns import numbers_of
from isoprune.reporting import theme
from isoprune.reproduction.forecasts.verdict import KNOWN_ANYWAY, MeasureVerdict, Outcome, outcomes

PANELS = 4
_SIDE = 250  # pixels


def best_measures(judged: Sequence[MeasureVerdict]) -> list[MeasureVerdict]:
    """Return the best number of each of the best measures; numbers that need none are not among them."""
    first: dict[str, MeasureVerdict] = {}
    for one in judged:
        if one.measure != KNOWN_ANYWAY:
            first.setdefault(one.measure, one)
    return list(first.values())[:PANELS]


def reached_against_measures(rows: pl.DataFrame, judged: Sequence[MeasureVerdict]) -> dict[str, Any]:
    """Return a Vega-Lite specification: a panel a measure, a point a network, its colour the family's.

    Of the longest budget at the best rate.
    """
    outcome, frame = next(iter(outcomes(rows).items()))
    families = sorted(frame["family"].unique())
    colours = alt.Scale(domain=families, range=list(theme.NETWORKS[: len(families)]))
    panels = [_panel(frame, one, outcome, colours) for one in best_measures(judged)]
    lines = [alt.HConcatChart(hconcat=panels[at : at + 2], spacing=28) for at in range(0, len(panels), 2)]
    title = alt.TitleParams(
        "Accuracy after retraining against what was measured before it",
        subtitle="each point is a network",
        fontSize=14,
        offset=12,
    )
    chart = alt.VConcatChart(vconcat=lines, spacing=24, title=title)
    chart = chart.resolve_scale(color="shared", shape="shared")
    spec = chart.to_dict()
    return {key: part for key, part in spec.items() if key != "config"} | {
        "config": {**theme.config(), "background": "white", "padding": 12}
    }


def _panel(frame: pl.DataFrame, one: MeasureVerdict, outcome: Outcome, colours: alt.Scale) -> Any:
    tau = one.within[outcome]
    points = frame.select("family", "data", reached=100 * pl.col("accuracy")).with_columns(
        x=pl.Series(numbers_of(frame, [one.key])[one.key])
    )
    rows = points.filter(pl.col("x").is_not_nan()).to_dicts()
    title = alt.TitleParams(
        one.key.replace("_", " "),
        subtitle=f"tau {tau}",
        fontSize=13, offset=18,
    )  # fmt: skip
    legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1)
    return (
        alt.Chart(alt.InlineData(values=rows), title=title, width=_SIDE, height=0.8 * _SIDE)
        .mark_point(size=22, filled=True, opacity=0.55)
        .encode(
            x=alt.X(
                "x:Q",
                title="before retraining",
                scale=alt.Scale(zero=False, padding=8),
                axis=alt.Axis(tickCount=5),
            ),
            y=alt.Y("reached:Q", title="accuracy reached, %", scale=alt.Scale(zero=False, padding=8)),
            color=alt.Color("family:N", scale=colours, legend=legend),
            shape=alt.Shape("data:N", legend=legend),
        )
    )
