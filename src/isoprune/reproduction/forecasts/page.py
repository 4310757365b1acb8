"""The verdict on measures and forecasts as a page and a figure, and the forecast that comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import msgspec
import polars as pl

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary
from isoprune.comparison.tau import DRAWS, Tau
from isoprune.forecast import Fitted
from isoprune.forecast.columns import columns_of
from isoprune.forecast.fitting import AFFORDABLE, FitOptions, fit
from isoprune.forecast.rows import at_best_rate, read_rows
from isoprune.reporting import html, theme
from isoprune.reproduction.forecasts.contest import Entry, contest
from isoprune.reproduction.forecasts.cross_validation import Quality
from isoprune.reproduction.forecasts.verdict import (
    KNOWN_ANYWAY,
    MeasureVerdict,
    RetrainingOutcome,
    judge_measures,
    outcomes,
)
from isoprune.types import IsopruneError
from isoprune.types.files import write_output
from isoprune.types.sentences import sentences_of
from isoprune.types.tables import Table

GOAL_ERROR, GOAL_TAU = 1.0, 0.8
_ALPHA = 0.05
_QUALITY = ("mean error, points", "longest budget", "median", "tau")
_JSV = "log_jsv_mean"
MARK = "<!-- isoprune forecast -->"
_TEMPLATE = Path(__file__).parent / "template" / "verdict.txt.j2"


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a study's rows on measures and on forecasts."""

    rows: pl.DataFrame
    measures: list[MeasureVerdict]
    families: list[Entry]
    ratios: list[Entry]
    fitted: Fitted


def judge(path: Path, measure_of: Mapping[str, str], *, draws: int = DRAWS) -> Judgement:
    """Return the verdict on the rows of a study, and the forecast fitted on all of them.

    Raises:
        IsopruneError: If ``path`` holds no such rows, or too few families.
    """
    rows, digest = read_rows(path)
    best = at_best_rate(rows)
    families = contest(best, measure_of, draws=draws)
    fitted = fit(best, FitOptions(measure_of), digest=digest)
    whole = families[0].whole
    assert whole is not None
    fitted = msgspec.structs.replace(fitted, judged=whole.judged)
    measures = judge_measures(rows, measure_of, draws=draws)
    ratios = contest(best, measure_of, "ratio", draws=draws) if best["ratio"].n_unique() > 3 else []
    return Judgement(rows, measures, families, ratios, fitted)


def page(judgement: Judgement, *, rows: str, command: str, draws: int = DRAWS) -> str:
    """Return the page in Markdown, without its title."""
    first, *more = sentences(judgement)
    measures = judgement.measures
    made = list(measures[0].within)
    return html.text(
        "forecast.md.j2",
        first=first,
        more=more,
        draws=draws,
        numbers=len(measures),
        pairs=max(one.within[made[0]].pairs for one in measures),
        measures=Table(
            ("number", "measure", "within", "over all", "beyond", "cost"),
            tuple(_row(one, made[0]) for one in measures), words=2,
        ),
        outcomes=Table(
            ("number", *map(str, made)),
            tuple((one.key, *(_tau(one.within[o], tested=True) for o in made)) for one in measures), words=1,
        ),
        families=_entries(judgement.families),
        each=_groups(judgement.families[0]),
        ratios=_entries(judgement.ratios),
        fitted=judgement.fitted,
        features=_features(judgement.fitted),
        rows=rows,
        command=command,
    )  # fmt: skip


def sentences(judgement: Judgement) -> list[str]:
    """Return what came out, in words: the first one of the measures, the others of the forecast."""
    ours, measures = judgement.families[0], judgement.measures
    outcome, whole = next(iter(measures[0].within)), ours.whole
    assert whole is not None
    alone = [entry for entry in judgement.families if entry.name.endswith("alone")]
    own = ours.quality
    met = own.error.mean <= GOAL_ERROR and own.tau.value >= GOAL_TAU and whole.cost <= AFFORDABLE
    places = {one.key: place for place, one in enumerate(measures, 1)}
    jsv = None if _JSV not in places else measures[places[_JSV] - 1]
    facts = {
        "numbers": len(measures),
        "best": {
            "key": measures[0].key, "within": measures[0].within[outcome],
            "shown": measures[0].within[outcome].p < _ALPHA,
        },
        "jsv": jsv and {
            "place": places[_JSV], "within": jsv.within[outcome], "beyond": jsv.beyond[outcome],
            "shown": jsv.beyond[outcome].p < _ALPHA,
        },
        "measures": text.listed(list(whole.measures)),
        "ours": ours,
        "single": min(alone, key=lambda entry: entry.quality.error.mean),
        "goal": {"error": GOAL_ERROR, "tau": GOAL_TAU, "cost": AFFORDABLE},
        "met": met,
        "tau": _tau, "error": _error, "percent": _percent,
    }  # fmt: skip
    return sentences_of(_TEMPLATE, facts)


def replace_in(file: Path, made: str) -> None:
    """Write what was made between the two marks of a Markdown file; one that is not there is made of it.

    Raises:
        IsopruneError: If the file is there and has no two marks, or cannot be written.
    """
    old = file.read_text(encoding="utf-8") if file.exists() else f"{MARK}\n{MARK}\n"
    parts = old.split(MARK)
    if len(parts) != 3:
        raise IsopruneError(
            f"{file} has {len(parts) - 1} lines {MARK!r}, and what stands between two is replaced. Add them, "
            "or name a file that is not there."
        )
    write_output(f"{parts[0]}{MARK}\n{made.strip()}\n\n{MARK}{parts[2]}", file, what="page")


def _row(one: MeasureVerdict, outcome: RetrainingOutcome) -> tuple[str, ...]:
    taus = (one.within[outcome], one.overall[outcome], one.beyond[outcome])
    cells = (_tau(taus[0], tested=True), _tau(taus[1]), _tau(taus[2], tested=True))
    return one.key, one.measure, *cells, _percent(one.cost)


def _tau(tau: Tau, *, tested: bool = False) -> str:
    return f"{tau}, open" if tested and tau.p >= _ALPHA else str(tau)


def _entries(entries: Sequence[Entry]) -> Table:
    rows = []
    for one in entries:
        whole, rest = one.whole, [text.MISSING] * 4
        if whole is not None:
            coverage = [f"{100 * part:.0f} %" for part in whole.coverage.values()]
            rest = [*coverage, f"{100 * whole.refused:.0f} %", _percent(whole.cost)]
        rows.append((one.name, *_quality(one.quality), *rest))
    heads = ("in 80 % interval", "in 95 %", "too unlike", "cost")
    return Table(("forecast from", *_QUALITY, *heads), tuple(rows), words=1)


def _groups(entry: Entry) -> Table:
    assert entry.whole is not None
    groups = entry.whole.groups.items()
    rows = [(name, *_quality(quality), f"{100 * coverage:.0f} %") for name, (quality, coverage) in groups]
    return Table(("family", *_QUALITY, "in 80 % interval"), tuple(rows), words=1)


def _quality(quality: Quality) -> tuple[str, ...]:
    return _error(quality.error), _error(quality.longest), f"{quality.median:.1f}", _tau(quality.tau)


def _features(fitted: Fitted) -> Table:
    rows = [
        (
            f.key,
            f.measure or "known",
            *(text.number(v).replace("-", "−") for v in (f.centre, f.scale, f.low, f.high)),
            f"{f.weight:+.2f}".replace("-", "−"),
        )
        for f in fitted.features
    ]
    return Table(
        ("number", "measure", "centre", "scale", "lowest", "highest", "weight"), tuple(rows), words=2
    )


def _error(error: Summary) -> str:
    low, high = error.interval
    return f"{error.mean:.1f} ({low:.1f} to {high:.1f})".replace("-", "−")


def _percent(part: float) -> str:
    if math.isinf(part):
        return text.MISSING
    return f"{100 * part:.2g} %" if part < 1 else f"{100 * part:.0f} %"


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


def _panel(frame: pl.DataFrame, one: MeasureVerdict, outcome: RetrainingOutcome, colours: alt.Scale) -> Any:
    tau = one.within[outcome]
    points = frame.select("family", "data", reached=100 * pl.col("accuracy")).with_columns(
        x=pl.Series(columns_of(frame, [one.key])[one.key])
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
