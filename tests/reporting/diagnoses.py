"""Diagnoses as `isoprune diagnose --out` gives them, made by hand."""

from __future__ import annotations

from typing import Any


def _network(name: str, role: str, mean: float, *, error: float | None = None) -> dict[str, Any]:
    jsv = {"mean": mean, "std": mean / 2, "max": 3 * mean, "distance": (mean - 1) ** 2}
    if error is not None:
        return {
            "name": name,
            "role": role,
            "jsv": jsv | {"mean_error": error, "max_error": error},
            "histogram": None,
        }
    edges = [-6.1 + 0.1 * i for i in range(81)]
    counts = [0] * 80
    counts[30], counts[40], counts[45] = 5, 20, 10
    jsv |= {"min": mean / 9, "condition": 27.0, "below_1e3": 0.125}
    return {"name": name, "role": role, "jsv": jsv, "histogram": {"edges": edges, "counts": counts}}


def diagnosis(
    *, estimated: bool = False, layers: int = 6, compared: bool = True, **changes: Any
) -> dict[str, Any]:
    """Return a diagnosis of a network with so many layers, of which every third lost the gradient."""
    error = 0.003 if estimated else None
    networks = [
        _network("this network", "own", 0.04, error=error),
        _network("orthp", "repaired", 0.9, error=error),
    ]
    if compared:
        networks.insert(0, _network("dense", "dense", 1.2, error=error))
    rows = []
    for i in range(layers):
        row = {"name": f"blocks.{i}.conv", "kind": "Conv2d", "forward_gain": 0.9, "lost": 0.0, "share": 0.0}
        row |= {"backward_gain": 0.8, "filters": 16, "dead_filters": 0, "sigma_mean": 0.7}
        if compared:
            row["dense_backward_gain"] = 0.8
        if i % 3 == 0:
            row |= {"backward_gain": 0.1, "lost": 0.9, "share": 1 / (1 + (layers - 1) // 3)}
        rows.append(row)
    return {
        "kind": "diagnosis",
        "version": 1,
        "network": "ResNet (small)",
        "verdict": "collapsed",
        "sentences": [
            "Collapsed: the mean Jacobian singular value is 0.04.",
            "The layers that lost most of it: ...",
        ],
        "restored": ["Repair orthp brings the mean to 0.9."],
        "provisos": ["Measured on validation images of digits."],
        "networks": networks,
        "layers": rows,
        "numbers": {"jsv_mean": 0.04},
        "forecast": None,
        "refused": {"reconstruct": "It must know which channels went. Pass plan=."},
        "settings": {"network": "small", "samples": "64", "isoprune": "0.1.0"},
        "thresholds": {"collapsed_ratio": 0.1, "damaged_ratio": 0.5},
        **changes,
    }


def expected(**changes: Any) -> dict[str, Any]:
    """Return a forecast as a diagnosis holds it."""
    return {
        "accuracy": 0.836, "intervals": {"80": [0.81, 0.85], "95": [0.7, 0.88]}, "dense": 0.9,
        "samples": 10_000, "moves": [{"name": "loss", "value": 1.2, "points": 3.4}], "refused": "",
        "sentences": ["Forecast: it reaches 83.6 %."], "seconds": 0.4, **changes,
    }  # fmt: skip
