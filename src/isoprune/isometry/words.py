"""The verdict and the sentences of a diagnosis, each backed by a number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isoprune.isometry import restoring, thresholds
from isoprune.isometry.effort import Effort
from isoprune.isometry.estimate import products_of
from isoprune.types.sentences import sentences_of

_TEMPLATES = Path(__file__).parent / "template"
ORDER = ("collapsed", "damaged", "healthy")


def verdict_with_reasons(
    numbers: dict[str, float], layers: Sequence[dict[str, Any]], effort: Effort
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict, and the sentences that say why."""
    verdict = verdict_of(numbers)
    tried = sorted((row for row in layers if "comes_back" in row), key=lambda row: -row["comes_back"])
    guilty = [row for row in tried if row["comes_back"] >= thresholds.LAYER_SHARE]
    worst = restoring.lost_most(layers)
    others = {verdict_of(numbers, shift) for shift in (-1, 1)} - {verdict}
    facts = {
        "verdict": verdict,
        "numbers": numbers,
        "layers": layers,
        "guilty": guilty[: thresholds.LAYERS_NAMED],
        "cleared": [row for row in tried if row not in guilty and row["lost"] == worst],
        "tried": tried,
        "lost": restoring.what_was_lost(numbers)[0],
        "others": sorted(others, key=ORDER.index),
        "effort": effort,
        "products": products_of(),
    }
    return verdict, tuple(sentences_of(_TEMPLATES / "verdict.txt.j2", facts))


def verdict_of(numbers: dict[str, float], shift: float | int = 0.0) -> str:
    """Return healthy, damaged or collapsed; ``shift`` moves the mean by so many of its half-widths."""
    compared = "jsv_ratio" in numbers
    key = "jsv_ratio" if compared else "jsv_mean"
    mean = numbers[key] + shift * numbers.get(f"{key}_error", 0.0)
    collapsed, damaged, exploded = (
        (thresholds.COLLAPSED_RATIO, thresholds.DAMAGED_RATIO, thresholds.EXPLODED_RATIO)
        if compared
        else (thresholds.COLLAPSED_MEAN, thresholds.DAMAGED_MEAN, thresholds.EXPLODED_MEAN)
    )
    # An estimate does not say how many values are below 0.001: it is then judged by its mean alone.
    vanished = numbers.get("jsv_below_1e3", 0.0) - numbers.get("dense_jsv_below_1e3", 0.0)
    if mean < collapsed or vanished > thresholds.COLLAPSED_BELOW_1E3:
        return "collapsed"
    if mean < damaged or mean > exploded or vanished > thresholds.DAMAGED_BELOW_1E3:
        return "damaged"
    return "healthy"


def restores(name: str, numbers: dict[str, float]) -> str:
    """Return what a repair would bring the mean to."""
    (sentence,) = sentences_of(_TEMPLATES / "repair.txt.j2", {"name": name, "numbers": numbers})
    return sentence
