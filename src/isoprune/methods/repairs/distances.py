"""How far a repaired network is from the dense one, by what both make of the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph.outputs import tensors_in
from isoprune.methods.layers.probe import Callbacks, watch
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.types.task import forward


@torch.no_grad()
def outputs_off(network: nn.Module, dense: nn.Module, inputs: Sequence[Any]) -> float | None:
    """Return the squared distance of all outputs, infinite if one is not finite; None if shapes differ."""
    total = 0.0
    with in_eval_mode(network, dense):
        for x in inputs:
            made, want = (list(tensors_in(forward(model, x))) for model in (network, dense))
            if [t.shape for t in made] != [t.shape for t in want]:
                return None
            total += sum(float((a - b).double().square().sum()) for a, b in zip(made, want, strict=True))
    return total if total == total else float("inf")


@torch.no_grad()
def layers_off(network: nn.Module, dense: nn.Module, inputs: Sequence[Any]) -> float | None:
    """Return the squared distance of what layers make that lost no channel, each over its own energy.

    None if there is no such layer, or none makes as much in both networks.
    """
    wide = {name: _filters(m) for name, m in dense.named_modules() if isinstance(m, LAYERS)}
    whole = [n for n, m in network.named_modules() if n in wide and wide[n] == _filters(m)]
    error: dict[tuple[str, int], float] = {}
    energy: dict[tuple[str, int], float] = {}
    with in_eval_mode(network, dense):
        for x in inputs:
            made, want = (_made(model, whole, x) for model in (network, dense))
            for key in made.keys() & want.keys():
                a, b = made[key], want[key]
                if a.shape == b.shape:
                    error[key] = error.get(key, 0.0) + float((a - b).double().square().sum())
                    energy[key] = energy.get(key, 0.0) + float(b.double().square().sum())
    total = sum(e / energy[key] for key, e in error.items() if energy[key])
    return None if not any(energy.values()) else total if total == total else float("inf")


def _filters(layer: nn.Module) -> int | None:
    return getattr(layer, "out_features", getattr(layer, "out_channels", None))


def _made(model: nn.Module, layers: Sequence[str], x: Any) -> dict[tuple[str, int], Tensor]:
    """Return what these layers make, by name and how often each has run before."""
    found: dict[tuple[str, int], Tensor] = {}

    def output(name: str, run: int, _: Tensor, y: Tensor) -> None:
        found[name, run] = y.clone()  # what comes next may write into it

    watch(model, x, {name: model.get_submodule(name) for name in layers}, Callbacks(output=output))
    return found
