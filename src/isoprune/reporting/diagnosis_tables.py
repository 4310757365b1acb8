"""A diagnosis -> tables: the singular values of every network, and what each layer does to the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoprune.comparison import text
from isoprune.types.tables import Table

_HEADINGS = {
    "mean": "mean", "std": "std", "min": "min", "max": "max", "condition": "max / min",
    "below_1e3": "below 0.001", "distance": "distance to 1",
}  # fmt: skip
LAYER_HEADINGS = {
    "name": "layer", "kind": "kind", "forward_gain": "signal", "backward_gain": "gradient",
    "dense_backward_gain": "gradient, dense", "share": "own share of the loss", "comes_back": "comes back",
    "restored_by": "restored by", "filters": "filters",
    "dead_filters": "dead", "sigma_mean": "mean σ of filters", "sigma_min": "min", "sigma_max": "max",
}  # fmt: skip


def network_table(networks: Sequence[Mapping[str, Any]]) -> Table:
    """Return the summary of every network's singular values, with its errors where it is an estimate."""
    shown = [key for key in _HEADINGS if key in networks[0]["jsv"]]
    rows = [
        (
            network["name"],
            *(
                f"{100 * network['jsv'][key]:.0f} %"
                if key == "below_1e3"
                else text.number(network["jsv"][key]) + error_bar(network["jsv"], key)
                for key in shown
            ),
        )
        for network in networks
    ]
    return Table(("network", *(_HEADINGS[key] for key in shown)), tuple(rows))


def error_bar(jsv: Mapping[str, float], key: str) -> str:
    """Return half the width of a number's interval, with its sign; "" where the number is exact."""
    error = jsv.get(f"{key}_error")
    return "" if error is None else f" ± {text.number(error)}"


def layer_table(layers: Sequence[Mapping[str, Any]], keys: Sequence[str] = tuple(LAYER_HEADINGS)) -> Table:
    """Return a row a layer, with those of ``keys`` that any of them has."""
    shown = [key for key in keys if any(row.get(key) is not None for row in layers)]
    rows = tuple(tuple(_cell(key, row.get(key)) for key in shown) for row in layers)
    return Table(tuple(LAYER_HEADINGS[key] for key in shown), rows, words=2)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return text.MISSING
    if key in ("share", "comes_back"):
        return f"{100 * value:.0f} %"
    return text.number(value) if isinstance(value, float) else str(value)
