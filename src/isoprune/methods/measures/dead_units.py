"""Units that no gradient reaches."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.outputs import tensors_in
from isoprune.pruning.mask import masks_of
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.signals.matrices import LAYERS, as_matrices
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.network import module_of


@method("measure", "data", source="Lu, Shin, Su & Karniadakis, 2020, arXiv 1903.06733")
def dead_units(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 256
) -> dict[str, float]:
    r"""Fraction of the units that no gradient reaches: :math:`\partial y / \partial z_i = 0` on all samples.

    ``dead_units``, in [0, 1]. A unit is a neuron of a Linear layer or a filter of a convolution, z what it
    makes at all of its places, y the outputs. So its activation never lets anything through, or nothing
    reads it, and no training by gradients wakes it up. Filters that are masked as a whole are not counted.

    Cost: a forward and a backward of the samples. Memory: the graph of a batch, and what each layer makes of
    it twice, with its gradient.

    Raises:
        IsopruneError: If no Linear layer or convolution runs.
    """
    counted, alive = _counted(signals), {}
    for inputs in signals.chunks(samples):
        for name, reached in _reached(signals, inputs, generator).items():
            alive[name] = alive.get(name, False) | reached
    units = sum(int(counted[name].sum()) for name in alive)
    if not units:
        raise IsopruneError("dead_units counts units of Linear layers and convolutions, and none ran.")
    return {"dead_units": sum(int((counted[name] & ~alive[name]).sum()) for name in alive) / units}


def _counted(signals: Signals) -> dict[str, Tensor]:
    """Return, by the layer, which of its units a mask leaves something of."""
    masks = masks_of(module_of(signals.model))
    counted = {}
    for name, layer in signals.network.named_modules():
        if isinstance(layer, LAYERS):
            kept = masks.get(f"{name}.weight".lstrip("."), torch.ones_like(layer.weight, dtype=torch.bool))
            counted[name] = as_matrices(kept, layer, getattr(layer, "groups", 1)).any(-1).flatten()
    return counted


def _reached(signals: Signals, inputs: Any, generator: Generator) -> dict[str, Tensor]:
    """Return which units of each layer that runs a random sum of the outputs depends on."""
    made: list[tuple[str, nn.Module, Tensor]] = []
    with contextlib.ExitStack() as stack:
        for name, layer in signals.network.named_modules():
            if isinstance(layer, LAYERS):

                def ran(layer: nn.Module, _: Any, out: Tensor, name: str = name) -> Tensor:
                    made.append((name, layer, out))
                    return out.clone()  # an activation that works in place would overwrite what is watched

                stack.callback(layer.register_forward_hook(ran).remove)
        outputs = [t for t in tensors_in(signals.forward(inputs, signals.leaves())) if t.requires_grad]
    if not made:
        return {}
    draws = [torch.randn(t.shape, generator=generator).to(t) for t in outputs]
    slopes = torch.autograd.grad(
        outputs, [out for *_, out in made], draws, allow_unused=True, materialize_grads=True
    )
    reached: dict[str, Tensor] = {}
    for (name, layer, _), slope in zip(made, slopes, strict=True):
        of_unit = (
            slope if isinstance(layer, nn.Linear) else slope.movedim(slope.dim() - _places(layer) - 1, -1)
        )
        some = (of_unit != 0).flatten(0, -2).any(0)
        reached[name] = reached.get(name, False) | some
    return reached


def _places(convolution: nn.Module) -> int:
    return convolution.weight.dim() - 2  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
