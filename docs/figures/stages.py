"""Draws stages.svg, the picture of the README, from the table of docs/repairs-study.md."""

from __future__ import annotations

import re
from pathlib import Path

import altair as alt
import polars as pl

from isoprune.reporting import theme
from isoprune.reporting.export import write_picture

HERE = Path(__file__).parent
STAGES = {
    "dense": None,
    "pruned": "0 steps",
    "repaired": "0 steps",
    "after 1 epoch": "100 steps",
    "after 6 epochs": "600 steps",
}
DENSE = 84.8  # the page's point 1


def measured() -> dict[str, dict[str, float]]:
    """Return the accuracy of mlp_7 ReLU at ratio 0.9 by repair and budget, as the table has it."""
    lines = (HERE.parent / "repairs-study.md").read_text(encoding="utf-8").splitlines()
    heads = next(i for i, line in enumerate(lines) if line.startswith("| network | repair | ratio | 0 steps"))
    columns = [cell.strip() for cell in lines[heads].split("|")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[heads + 2 :] if line.startswith("|")]
    chosen = {
        r[2]: dict(zip(columns, r, strict=True)) for r in rows if r[1] == r"mlp\_7 relu" and r[3] == "0.9"
    }
    return {
        name: {step: float(re.match(r"[\d.]+", row[step])[0]) for step in STAGES.values() if step}
        for name, row in chosen.items()
        if name in ("no repair", "auto")
    }


def points() -> pl.DataFrame:
    """Return what is drawn: a point a method and stage."""
    table = measured()
    rows = []
    for name, label in (("auto", "repaired by isoprune"), ("no repair", "as pruned")):
        for stage, step in STAGES.items():
            at = table["no repair" if stage == "pruned" else name][step] if step else DENSE
            rows.append({"stage": stage, "accuracy": at, "method": label})
    return pl.DataFrame(rows)


def main() -> None:
    """Write the picture beside this file."""
    frame = points()
    colour = alt.Color("method:N", legend=None, scale=alt.Scale(range=[theme.RED, theme.BLUE]))
    base = alt.Chart(frame).encode(
        x=alt.X(
            "stage:O", sort=list(STAGES), title=None, axis=alt.Axis(labelAngle=0, domain=False, ticks=False)
        ),
        y=alt.Y("accuracy:Q", title="test accuracy, %", scale=alt.Scale(domain=[0, 100])),
        color=colour,
    )
    lines = base.mark_line(strokeWidth=3) + base.mark_circle(size=80, opacity=1)
    shown = alt.datum.stage != "dense"
    above = base.transform_filter(
        (alt.datum.method == "repaired by isoprune") & shown & (alt.datum.stage != "pruned")
    )
    below = base.transform_filter((alt.datum.method == "as pruned") & shown)
    dense = base.transform_filter((alt.datum.method == "as pruned") & (alt.datum.stage == "dense"))
    text = alt.Text("accuracy:Q", format=".0f")
    numbers = (
        above.mark_text(dy=-14, fontSize=14, fontWeight="bold").encode(text=text)
        + below.mark_text(dy=18, fontSize=14).encode(text=text)
        + dense.mark_text(dy=-14, fontSize=14).encode(text=text, color=alt.value(theme.INK))
    )
    names = (
        alt.Chart(
            pl.DataFrame(
                [
                    {"stage": "repaired", "accuracy": 92, "method": "repaired by isoprune"},
                    {"stage": "repaired", "accuracy": 24, "method": "as pruned"},
                ]
            )
        )
        .mark_text(fontSize=14, fontWeight="bold")
        .encode(x=alt.X("stage:O", sort=list(STAGES)), y="accuracy:Q", text="method:N", color=colour)
    )
    spec = (lines + numbers + names).properties(width=620, height=240).to_dict()
    spec["config"] = {**theme.config(), "background": "white", "padding": 12}
    write_picture(spec, HERE / "stages.svg")


if __name__ == "__main__":
    main()
