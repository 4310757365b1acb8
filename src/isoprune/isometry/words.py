"""The verdict and the sentences of a diagnosis, each backed by a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from isoprune.isometry import thresholds
from isoprune.isometry.effort import Effort
from isoprune.isometry.estimate import products_of

ORDER = ("collapsed", "damaged", "healthy")


def told(
    numbers: dict[str, float], layers: Sequence[dict[str, Any]], effort: Effort
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict, and the sentences that say why."""
    verdict = verdict_of(numbers)
    return verdict, (
        _headline(verdict, numbers),
        *_doubt(verdict, numbers),
        *_blame(layers, compared="jsv_ratio" in numbers),
        *_details(numbers, layers),
        _effort(effort, numbers),
    )


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
    mean = numbers[f"{name}_jsv_mean"]
    text = f"Repair {name} brings the mean to {_mean(f'{name}_jsv_mean', numbers)}"
    if "dense_jsv_mean" in numbers:
        text += f", {_times(mean / max(numbers['dense_jsv_mean'], 1e-30))} times the dense network's"
    return text + "."


def _headline(verdict: str, numbers: dict[str, float]) -> str:
    text = f"{verdict.capitalize()}: the mean Jacobian singular value is {_mean('jsv_mean', numbers)}"
    if "jsv_ratio" in numbers:
        dense = _mean("dense_jsv_mean", numbers)
        text += f", {_times(numbers['jsv_ratio'])} times the dense network's {dense}"
    if "jsv_below_1e3" not in numbers:
        return f"{text}."
    return text + f"; {numbers['jsv_below_1e3']:.0%} of the values are below 0.001."


def _doubt(verdict: str, numbers: dict[str, float]) -> tuple[str, ...]:
    others = {verdict_of(numbers, shift) for shift in (-1, 1)} - {verdict}
    if not others:
        return ()
    said = " or ".join(sorted(others, key=ORDER.index))
    return (f"Within its error bar it may also count as {said}: measure more samples to tell.",)


def _blame(layers: Sequence[dict[str, Any]], *, compared: bool) -> tuple[str, ...]:
    guilty = [
        row
        for row in sorted(layers, key=lambda row: -row["share"])
        if row["lost"] > -math.log10(thresholds.LAYER_GAIN) and row["share"] >= thresholds.LAYER_SHARE
    ][: thresholds.LAYERS_NAMED]
    if not guilty:
        return ()
    said = ", ".join(
        f"{row['name']} passes {row['backward_gain']:.2g}"
        + (f" instead of {row['dense_backward_gain']:.2g}" if compared else "")
        + f" of the gradient ({row['share']:.0%} of the loss)"
        for row in guilty
    )
    return (f"The layers that lost most of it: {said}.",)


def _details(numbers: dict[str, float], layers: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    said = []
    if "jsv_condition" in numbers:
        dense = numbers.get("dense_jsv_condition")
        end = "." if dense is None else f" ({dense:.3g} in the dense network)."
        said.append(
            f"Within a sample the largest value is {numbers['jsv_condition']:.3g} times the smallest{end}"
        )
    if numbers["dead_filters"]:
        where = ", ".join(
            f"{row['dead_filters']} in {row['name']}" for row in layers if row.get("dead_filters")
        )
        said.append(f"Filters with all weights zero: {where}.")
    return tuple(said)


def _effort(effort: Effort, numbers: dict[str, float]) -> str:
    samples = f"{effort.samples} sample{'s' if effort.samples > 1 else ''}"
    if effort.method == "exact":
        return f"Exact: all {effort.values:,} singular values of {samples}."
    return (
        f"Estimated on {samples}: exactly, a sample's {effort.values:,} singular values take "
        f"{effort.exact:.1e} multiply-adds, the {products_of()} products with the Jacobian of the estimate "
        f"{effort.estimate:.1e}. The error bar holds the exact mean 19 times of 20; the maximum is "
        f"{numbers['jsv_max']:.3g}, at most {numbers['jsv_max_error']:.2g} more."
    )


def _mean(key: str, numbers: dict[str, float]) -> str:
    error = numbers.get(f"{key}_error")
    return f"{numbers[key]:.3g}" + (f" ± {error:.1g}" if error is not None else "")


def _times(factor: float) -> str:
    return f"{factor:.0f}" if 100 <= factor < 1e6 else f"{factor:.2g}"
