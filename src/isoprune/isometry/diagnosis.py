"""Numbers and a verdict in words: is this network fit to be retrained, and which layers are to blame?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.isometry import thresholds
from isoprune.isometry.exact import jacobian_singular_values
from isoprune.isometry.layers import LayerGain, layer_gains
from isoprune.isometry.picks import InputPick, OutputPick
from isoprune.isometry.spectra import filter_spectrum
from isoprune.isometry.summary import summary
from isoprune.types import Batches, IsopruneError


@dataclass(frozen=True)
class Diagnosis:
    """``verdict`` is healthy, damaged or collapsed; ``numbers`` and ``layers`` back every sentence."""

    verdict: str
    sentences: tuple[str, ...]
    numbers: dict[str, float]
    layers: list[dict[str, Any]]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer, for a table: the same keys in each, None where there is no number."""
        keys = dict.fromkeys(key for row in self.layers for key in row)
        return [{key: row.get(key) for key in keys} for row in self.layers]


def diagnose(
    model: nn.Module,
    batches: Batches,
    dense: nn.Module | None = None,
    *,
    repaired: Mapping[str, nn.Module] | None = None,
    samples: int = 64,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
) -> Diagnosis:
    """Return what pruning did to the network, in numbers and in words; the thresholds are in `thresholds`.

    Args:
        model: In eval mode, as all networks here.
        batches: (inputs, targets); the first ``samples`` inputs are measured, targets are not read.
        dense: The network before pruning. Given, the verdict is about what was lost; else about the network
            as it is.
        repaired: Networks by the name of the repair that made them; what each restores is said.
        samples: How many inputs.

    ``numbers`` holds the `summary` of each network's singular values as ``jsv_mean``, ``dense_jsv_mean``,
    ``orthp_jsv_mean`` ..., ``jsv_ratio`` (model over dense), and ``dead_filters``.
    Other arguments, and what raises, as in `jacobian_singular_values`.
    """
    inputs = _first(batches, samples)
    networks = {"": model, **({"dense": dense} if dense is not None else {}), **(repaired or {})}
    numbers: dict[str, float] = {}
    for name, network in networks.items():
        sigma = jacobian_singular_values(network, inputs, input=input, output=output, memory=memory)
        numbers |= {f"{name}_jsv_{key}".lstrip("_"): value for key, value in summary(sigma).items()}
    if dense is not None:
        numbers["jsv_ratio"] = numbers["jsv_mean"] / max(numbers["dense_jsv_mean"], 1e-30)
    gains = layer_gains(model, inputs, input=input, output=output)
    before = layer_gains(dense, inputs, input=input, output=output) if dense is not None else None
    layers = _layer_rows(model, gains, before)
    numbers["dead_filters"] = float(sum(row.get("dead_filters", 0) for row in layers))
    verdict = _verdict(numbers)
    sentences = (_headline(verdict, numbers), *_blame(layers, dense is not None), *_details(numbers, layers))
    restores = tuple(_restores(name, numbers) for name in repaired or {})
    return Diagnosis(verdict, sentences + restores, numbers, layers)


def _first(batches: Batches, samples: int) -> Tensor:
    taken: list[Tensor] = []
    for inputs, _ in batches:
        taken.append(inputs)
        if sum(map(len, taken)) >= samples:
            break
    if not taken:
        raise IsopruneError(
            "batches is empty: there is no input to measure on. Pass at least one (inputs, targets)."
        )
    return torch.cat(taken)[:samples]


def _verdict(numbers: dict[str, float]) -> str:
    mean, low = (
        (
            numbers["jsv_ratio"],
            (thresholds.COLLAPSED_RATIO, thresholds.DAMAGED_RATIO, thresholds.EXPLODED_RATIO),
        )
        if "jsv_ratio" in numbers
        else (
            numbers["jsv_mean"],
            (thresholds.COLLAPSED_MEAN, thresholds.DAMAGED_MEAN, thresholds.EXPLODED_MEAN),
        )
    )
    vanished = numbers["jsv_below_1e3"] - numbers.get("dense_jsv_below_1e3", 0.0)
    if mean < low[0] or vanished > thresholds.COLLAPSED_BELOW_1E3:
        return "collapsed"
    if mean < low[1] or mean > low[2] or vanished > thresholds.DAMAGED_BELOW_1E3:
        return "damaged"
    return "healthy"


def _headline(verdict: str, numbers: dict[str, float]) -> str:
    text = f"{verdict.capitalize()}: the mean Jacobian singular value is {numbers['jsv_mean']:.3g}"
    if "jsv_ratio" in numbers:
        text += f", {numbers['jsv_ratio']:.2g} times the dense network's {numbers['dense_jsv_mean']:.3g}"
    return text + f"; {numbers['jsv_below_1e3']:.0%} of the values are below 0.001."


def _layer_rows(
    model: nn.Module, gains: list[LayerGain], before: list[LayerGain] | None
) -> list[dict[str, Any]]:
    """Return a row for each run of a layer; ``share`` is its part of the logarithm lost by all that lost."""
    weights = {name: getattr(m, "weight", None) for name, m in model.named_modules()}
    earlier = {gain.name: gain for gain in before or []}
    rows: list[dict[str, Any]] = []
    for gain in gains:
        row: dict[str, Any] = {"name": gain.name, "kind": gain.kind}
        row |= {"forward_gain": gain.forward, "backward_gain": gain.backward}
        reference = 1.0
        if before is not None:
            reference = earlier[gain.name].backward if gain.name in earlier else 1.0
            row["dense_backward_gain"] = reference
        row["lost"] = math.log10(max(reference, 1e-30) / max(gain.backward, 1e-30))
        weight = weights.get(gain.name)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            sigma = filter_spectrum(weight)
            row |= {"filters": len(weight), "sigma_mean": float(sigma.mean())}
            row |= {"sigma_max": float(sigma.max()), "sigma_min": float(sigma.min())}
            row["dead_filters"] = int((weight.detach().flatten(1) == 0).all(dim=1).sum())
        rows.append(row)
    total = sum(max(row["lost"], 0.0) for row in rows)
    for row in rows:
        row["share"] = max(row["lost"], 0.0) / total if total > 0 else 0.0
    return rows


def _blame(layers: list[dict[str, Any]], compared: bool) -> tuple[str, ...]:
    guilty = [
        row
        for row in sorted(layers, key=lambda row: -row["share"])
        if row["lost"] > -math.log10(thresholds.LAYER_GAIN) and row["share"] >= thresholds.LAYER_SHARE
    ][: thresholds.LAYERS_NAMED]
    if not guilty:
        return ()
    told = ", ".join(
        f"{row['name']} passes {row['backward_gain']:.2g}"
        + (f" instead of {row['dense_backward_gain']:.2g}" if compared else "")
        + f" of the gradient ({row['share']:.0%} of the loss)"
        for row in guilty
    )
    return (f"The layers that lost most of it: {told}.",)


def _details(numbers: dict[str, float], layers: list[dict[str, Any]]) -> tuple[str, ...]:
    told = [
        f"Within a sample the largest value is {numbers['jsv_condition']:.3g} times the smallest"
        + (
            f" ({numbers['dense_jsv_condition']:.3g} in the dense network)."
            if "jsv_ratio" in numbers
            else "."
        )
    ]
    if numbers["dead_filters"]:
        where = ", ".join(
            f"{row['dead_filters']} in {row['name']}" for row in layers if row.get("dead_filters")
        )
        told.append(f"Filters with all weights zero: {where}.")
    return tuple(told)


def _restores(name: str, numbers: dict[str, float]) -> str:
    mean = numbers[f"{name}_jsv_mean"]
    text = f"Repair {name} brings the mean to {mean:.3g}"
    if "dense_jsv_mean" in numbers:
        text += f", {mean / max(numbers['dense_jsv_mean'], 1e-30):.2g} times the dense network's"
    return text + "."
