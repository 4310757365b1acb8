"""The weights that retraining can change."""

from __future__ import annotations

import torch
from torch import Tensor

from isoprune.pruning.mask import masks_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.network import module_of


def free_weights(signals: Signals) -> dict[str, Tensor]:
    """Return, by a weight's name, which of its elements (bool) are neither frozen nor masked to zero.

    Raises:
        IsopruneError: If none is.
    """
    model = module_of(signals.model)
    masks, frozen = masks_of(model), set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            made = signals.computed.get(name)
            frozen.add(made.weight if made is not None and made.stands_for else name)
    free = {
        name: masks.get(name, torch.ones((), dtype=torch.bool)).to(w.device).expand_as(w)
        for name, w in signals.weights.items()
        if name not in frozen
    }
    if not any(bool(each.any()) for each in free.values()):
        raise IsopruneError(
            "No weight can be trained: all are frozen or masked. Call requires_grad_(True) on the network."
        )
    return free


def flat(tensors: dict[str, Tensor], free: dict[str, Tensor]) -> Tensor:
    """Return the free elements as one vector, in float64."""
    return torch.cat([tensors[name][kept].double() for name, kept in free.items()])


def unflat(vector: Tensor, free: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with these free elements and zeros elsewhere, of the types of ``like``."""
    made, at = {}, 0
    for name, kept in free.items():
        count = int(kept.sum())
        made[name] = torch.zeros_like(like[name])
        made[name][kept] = vector[at : at + count].to(made[name])
        at += count
    return made
