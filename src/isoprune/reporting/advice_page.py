"""Advice on a learning rate -> one HTML file: the rate, why, and the numbers and charts behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoprune.comparison import text
from isoprune.reporting import advice_figures as figures
from isoprune.reporting import advice_words as words
from isoprune.reporting import html, theme
from isoprune.types.files import write_output
from isoprune.types.tables import Table

_DAMAGE = {
    "jsv_mean": "mean Jacobian singular value",
    "dense_jsv_mean": "of the dense network",
    "jsv_ratio": "times dense",
}


def advice_page(record: Mapping[str, Any], file: str | Path) -> Path:
    """Write the page on advice, as ``isoprune advise --out`` gives it, and return its path.

    The file holds everything it shows, scripts included, asks nothing of the network, and is written whole or
    not at all.

    Raises:
        IsopruneError: If ``record`` is no advice, or ``file`` cannot be written.
    """
    words.require_advice(record)
    charts = html.charts(
        (
            "accuracies",
            figures.accuracies(record),
            "What every rate ends at",
            "bar: holds the accuracy 19 times of 20; green band: as good as the best",
        ),
        (
            "schedule",
            figures.schedule(record),
            "The training that is advised",
            f"{text.count(record['steps'])} steps, peak {text.plain(record['lr'])}",
        ),
    )
    page = html.render(
        "advice.html.j2",
        title=f"lr = {text.plain(record['lr'])}: {record['network']}",
        network=record["network"],
        headline=f"lr = {text.plain(record['lr'])}",
        verdict=words.verdict(record),
        slot=theme.PALETTE.index(theme.GREEN if record["learns"] else theme.RED),
        lines=record["copy"],
        reasons=words.reasons(record),
        doubts=words.doubts(record),
        provisos=record["provisos"],
        charts=charts,
        table=words.probe_table(record),
        damage=_damage(record["damage"]),
        settings=Table(("setting", "value"), tuple(record["settings"].items()), words=2),
        version=record["settings"].get("isoprune", ""),
    )
    return write_output(page, Path(file), what="page")


def _damage(damage: Mapping[str, Any]) -> Table | None:
    if damage["verdict"] is None:
        return None
    numbers = damage["numbers"]
    rows = [("verdict", damage["verdict"])]
    for key, label in _DAMAGE.items():
        if key in numbers:
            error = numbers.get(f"{key}_error")
            rows.append((label, text.number(numbers[key]) + (f" ± {text.number(error)}" if error else "")))
    rows.append(("measured", f"{damage['method']}, on {damage['samples']} training inputs"))
    return Table(("damage", "value"), tuple(rows), words=2)
