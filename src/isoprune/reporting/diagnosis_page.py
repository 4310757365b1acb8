"""One diagnosis -> one HTML file: the verdict in words, and the numbers and charts behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.comparison import text
from isoprune.reporting import diagnosis_figures as figures
from isoprune.reporting import html, theme
from isoprune.reporting.diagnosis_tables import error_bar, layer_table, network_table
from isoprune.types import IsopruneError
from isoprune.types.files import write_output
from isoprune.types.tables import Table

_COLOUR = {"healthy": theme.GREEN, "damaged": theme.ORANGE, "collapsed": theme.RED}
_THRESHOLDS = {
    "collapsed_ratio": "collapsed: mean over the dense network's, below",
    "damaged_ratio": "damaged: mean over the dense network's, below",
    "exploded_ratio": "damaged: mean over the dense network's, above",
    "collapsed_mean": "collapsed, without a dense network: mean below",
    "damaged_mean": "damaged, without a dense network: mean below",
    "exploded_mean": "damaged, without a dense network: mean above",
    "collapsed_below_1e3": "collapsed: share of values below 0.001, more than in the dense network by",
    "damaged_below_1e3": "damaged: share of values below 0.001, more than in the dense network by",
    "layer_gain": "a layer is tried: its gain over the dense one's, below",
    "layer_share": "a layer is blamed: part of the loss that comes back with it restored, at least",
    "layers_named": "layers blamed, at most",
}


def diagnosis_page(record: Mapping[str, Any], file: str | Path) -> Path:
    """Write the page on a diagnosis, as ``isoprune diagnose --out`` gives it, and return its path.

    The file holds everything it shows, scripts included, asks nothing of the network, and is written whole or
    not at all.

    Raises:
        IsopruneError: If ``record`` is no diagnosis, or ``file`` cannot be written.
    """
    if record.get("kind") != "diagnosis":
        raise IsopruneError("This is not a diagnosis. Make one: isoprune diagnose MODEL --out diagnosis.html")
    networks, layers = record["networks"], record["layers"]
    estimated = any("mean_error" in network["jsv"] for network in networks)
    charts = {
        "values": html.charts(
            (
                "sigma",
                figures.singular_values(networks),
                "Where the singular values lie",
                "each network as high as its fullest bin; dashed: σ\u00a0=\u00a01, isometry",
            ),
            (
                "means",
                figures.means(networks),
                "Their mean",
                "bar: holds the exact mean 19 times of 20" if estimated else "exact; dashed: isometry",
            ),
        ),
        "forecast": html.charts(
            (
                "forecast",
                None if record["forecast"] is None else figures.forecast(record["forecast"]),
                "Accuracy after retraining",
                "expected, with its 80 % interval (thick) and its 95 % interval (thin)",
            )
        ),
        "layers": html.charts(("gains", figures.layers(layers), *_layers_titles(layers))),
    }
    page = html.render(
        "diagnosis.html.j2",
        title=f"{record['verdict'].capitalize()}: {record['network']}",
        network=record["network"],
        verdict=record["verdict"],
        verdict_slot=theme.PALETTE.index(_COLOUR[record["verdict"]]),
        sentences=record["sentences"],
        provisos=record["provisos"],
        cards=_cards(networks),
        charts=charts,
        table=network_table(networks),
        layer_table=layer_table(layers),
        forecast=record["forecast"],
        restored=record["restored"],
        refused=record["refused"],
        thresholds=_threshold_table(record["thresholds"]),
        settings=Table(("setting", "value"), tuple(record["settings"].items()), words=2),
        version=record["settings"].get("isoprune", ""),
    )
    return write_output(page, Path(file), what="page")


def _layers_titles(layers: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    compared = any("dense_backward_gain" in row for row in layers)
    note = "filled: this network; ring: the dense one" if compared else "against 1, which loses nothing"
    if len(layers) > figures.LAYERS:
        note += f"; the {figures.LAYERS} of {len(layers)} that changed most"
    return "What each layer passes of the gradient", f"{note}; red: it lost, green: it did not"


def _cards(networks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    colours = figures.colours(networks)
    dense = next((n["jsv"]["mean"] for n in networks if n["role"] == "dense"), None)
    return [
        {
            "label": network["name"],
            "slot": theme.PALETTE.index(colours[network["name"]]),
            "mean": text.number(network["jsv"]["mean"]),
            "error": error_bar(network["jsv"], "mean"),
            "ratio": text.number(network["jsv"]["mean"] / dense) if dense else None,
        }
        for network in networks
    ]


def _threshold_table(thresholds: Mapping[str, float]) -> Table:
    rows = tuple((_THRESHOLDS.get(name, name), text.plain(value)) for name, value in thresholds.items())
    return Table(("threshold", "value"), rows)
