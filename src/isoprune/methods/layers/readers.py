"""Which layers read units and can be refit when some go: Linear layers, convolutions, projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoprune.methods.layers.attention import ProjectionBlock
from isoprune.methods.layers.probe import sites
from isoprune.methods.layers.weights import Weight, weights
from isoprune.signals.matrices import LAYERS
from isoprune.types import Units


@dataclass(frozen=True)
class ReadingLayer:
    """A layer that reads units.

    Attributes:
        name: Of the module that runs.
        weight: What reads them.
        inputs: Units name -> the unit of every input, [blocks, fan_in]; -1 where it is of none.
        intercept: Whether a constant can be added to what it makes: by a bias, or a BatchNorm behind it.
    """

    name: str
    weight: Weight
    inputs: Mapping[str, Tensor]
    intercept: bool

    @property
    def module(self) -> nn.Module:
        return self.weight.module


def reading_layers(
    network: nn.Module, parts: Mapping[str, ProjectionBlock], units: Sequence[Units], example: object
) -> list[ReadingLayer]:
    """Return the layers of ``network`` that read some of ``units``, in the order in which they first run.

    Args:
        parts: The projections of its attentions: see `taken_apart`.
        example: What the forward takes.
    """
    found: dict[str, tuple[Weight, dict[str, Tensor]]] = {}
    for weight in weights(network):
        inputs = {u.name: read for u in units if (read := _inputs(weight, u)) is not None}
        if not inputs:
            continue
        mine = {name: part for name, part in parts.items() if part.weight == weight.name}
        for name, part in mine.items():
            own = {u: read[part.block, None] if part.blocks > 1 else read for u, read in inputs.items()}
            found[name] = Weight(name, part.projection), own
        if not mine and isinstance(weight.module, LAYERS):
            found[weight.name] = weight, inputs
    order = sites(network, example, {name: weight.module for name, (weight, _) in found.items()})
    return [
        ReadingLayer(site.name, weight, inputs, weight.bias is not None or site.norm is not None)
        for site in order
        for weight, inputs in [found[site.name]]
    ]


def kept_units(units: Units, masks: Mapping[str, Tensor]) -> Tensor:
    """Return which units stay, of the masks of their tensors."""
    for member in units.members:
        if (mask := masks.get(member.tensor)) is not None:
            unit = member.channels.to(mask.device).expand(mask.shape)
            kept = torch.zeros(units.size, dtype=torch.bool)
            kept[unit[mask & (unit >= 0)].cpu()] = True
            return kept
    return torch.ones(units.size, dtype=torch.bool)


def weights_that_read(
    network: nn.Module, units: Sequence[Units], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights of ``network`` that read units, of those that lose something, zero outside masks."""
    new = dict(network.named_parameters())
    read = {m.tensor for u in units for m in u.members if m.role == "in"}
    return {name: new[name].detach() * masks[name] for name in read & new.keys() & masks.keys()}


def _inputs(weight: Weight, units: Units) -> Tensor | None:
    """Return the unit of every input of a weight, [blocks, fan_in]; None if it reads none of them."""
    shape, read = weight.parameter.shape, None
    for member in units.members:
        if member.tensor != weight.tensor or member.role != "in" or member.unit is None:
            continue
        of_each = weight.arranged(member.unit.expand(shape).double()).long()
        if bool((of_each == of_each[:, :1]).all()):  # every filter reads the same
            read = of_each[:, 0] if read is None else torch.maximum(read, of_each[:, 0])
    return read if read is not None and bool((read >= 0).any()) else None
