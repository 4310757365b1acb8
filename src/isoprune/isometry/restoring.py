"""Which layer lost the signal: how much of the loss comes back with that one layer restored."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import nn

from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.isometry import thresholds
from isoprune.signals.effective import effective
from isoprune.types import IsopruneError

Row = dict[str, Any]
# Layer -> the network had pruning spared it, and what else it then spares; None where that is not known.
Spare = Callable[[str], tuple[nn.Module, tuple[str, ...]] | None]

CANDIDATES = 32  # runs whose gain is raised on paper, for a backward each, to see which are worth a trial
_LEAST = 1e-6  # of the reference: below it, a mean counts as this, since nothing has no logarithm


@dataclass(frozen=True)
class LayerTrial:
    """How a layer was restored, the network then, and the layers restored with it."""

    how: str
    network: nn.Module
    others: tuple[str, ...] = ()

    def facts(self, numbers: Mapping[str, float], restored: Mapping[str, float]) -> Row:
        """Return what a layer's row tells of the trial, whose network was measured as ``restored``."""
        more = f" and {len(self.others) - 3} more" if self.others[3:] else ""
        return {
            "restored_by": self.how,
            "restored_with": ", ".join(self.others[:3]) + more,
            "restored_mean": restored["restored_jsv_mean"],
            "comes_back": comes_back(numbers, restored),
        }


def candidates(rows: Sequence[Row]) -> dict[str, float]:
    """Return the runs that lost most along their own path, and what makes their gradient what it was.

    Negative for a dead run, whose gradient is nothing to multiply: then what multiplies the gradient that
    arrives there, passed on as it is.
    """
    lost = sorted(_lost(rows), key=lambda row: -row["lost"])[:CANDIDATES]
    return {row["name"]: _factor(row) for row in lost}


def suspects(rows: Sequence[Row], returns: Mapping[str, float]) -> list[Row]:
    """Return a row for each layer that is worth a trial: those that would bring most back, and the worst one.

    Args:
        returns: What the network passes with a run's gain raised, by the name of the run.
    """
    lost = sorted(_lost(rows), key=lambda row: (-returns.get(row["name"], 0.0), -row["lost"]))
    one_each = list({layer_of(row): row for row in reversed(lost)}.values())[::-1]
    chosen = one_each[: thresholds.LAYERS_NAMED]
    return chosen + [row for row in one_each if row not in chosen and row["lost"] == lost_most(rows)][:1]


def lost_most(rows: Sequence[Row]) -> float:
    return max((row["lost"] for row in rows), default=0.0)


def layer_of(row: Row) -> str:
    """Return the layer's name, without the number of its run."""
    return row["name"].partition("#")[0]


def what_was_lost(numbers: Mapping[str, float]) -> tuple[str, float]:
    """Return what was lost: ("mean", decades), or, the mean intact, ("values", the part that vanished)."""
    decades = math.log10(_reference(numbers) / _mean(numbers, "jsv_mean"))
    vanished = numbers.get("jsv_below_1e3", 0.0) - numbers.get("dense_jsv_below_1e3", 0.0)
    if decades > -math.log10(thresholds.LAYER_GAIN):
        return "mean", decades
    return "values", vanished if vanished > thresholds.DAMAGED_BELOW_1E3 else 0.0


def comes_back(numbers: Mapping[str, float], restored: Mapping[str, float]) -> float:
    """Return which part of that loss ``restored`` has back (keys "restored_jsv_..."), 0 within errors."""
    kind, lost = what_was_lost(numbers)
    if kind == "values":
        return (numbers["jsv_below_1e3"] - restored["restored_jsv_below_1e3"]) / lost
    errors = math.hypot(numbers.get("jsv_mean_error", 0.0), restored.get("restored_jsv_mean_error", 0.0))
    if abs(restored["restored_jsv_mean"] - numbers["jsv_mean"]) <= errors:
        return 0.0
    least = _LEAST * _reference(numbers)
    return math.log10(max(restored["restored_jsv_mean"], least) / _mean(numbers, "jsv_mean")) / lost


def restored(
    model: nn.Module, dense: nn.Module | None, rows: Sequence[Row], layer: str, spare: Spare | None
) -> LayerTrial:
    """Return the network with a layer restored, as faithfully as can be.

    "spared": as if its units had not been pruned. "weights": its tensors are the dense network's, where
    shapes allow. "gain": its gradient is multiplied to what it was in the dense network (to 1 without one),
    and what it computes stays.
    """
    if spare is not None and (spared := spare(layer)) is not None:
        return LayerTrial("spared", *spared)
    network = clone_sharing(model)
    own, before = model.get_submodule(layer), None
    if dense is not None and layer in dict(dense.named_modules()):
        before = dense.get_submodule(layer)
    if before is not None and _shapes(own) and _shapes(before) == _shapes(own):
        network.set_submodule(layer, copy.deepcopy(before))
        return LayerTrial("weights", network)
    wanted = [_factor(row) for row in rows if layer_of(row) == layer]
    network.get_submodule(layer).register_forward_hook(_passing(wanted))
    return LayerTrial("gain", network)


def _lost(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["lost"] > -math.log10(thresholds.LAYER_GAIN)]


def _factor(row: Row) -> float:
    wanted, gain = row.get("dense_backward_gain", 1.0), row["backward_gain"]
    return wanted / gain if gain > 0 else -wanted


def _reference(numbers: Mapping[str, float]) -> float:
    return max(numbers.get("dense_jsv_mean", 1.0), 1e-30)


def _mean(numbers: Mapping[str, float], key: str) -> float:
    return max(numbers[key], _LEAST * _reference(numbers))


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: t.shape for name, t in tensor_names(effective(module)).values()}


def _passing(factors: Sequence[float]) -> Callable[[nn.Module, Any, Any], Any]:
    """Return a hook under which the runs of a layer pass so much of the gradient, one factor a run."""
    turns = cycle(factors)

    def hook(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        y, factor = out[0] if isinstance(out, (tuple, list)) else out, next(turns)
        source = y if factor >= 0 else args[0]
        if source.shape != y.shape:
            raise IsopruneError(
                f"{type(module).__name__} passes nothing of {tuple(source.shape)}: no gain raises it."
            )
        y = y.detach() + abs(factor) * (source - source.detach())
        return type(out)([y, *out[1:]]) if isinstance(out, (tuple, list)) else y

    return hook
