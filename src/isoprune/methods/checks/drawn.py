"""Plans that chance makes: so many units of each tensor, drawn alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from isoprune.types import Plan, Units


def drawn(plan: Plan, units: Sequence[Units], numbers: Mapping[str, int], generator: Generator) -> Plan:
    """Return a plan that keeps so many units of every name, each choice of them equally likely."""
    kept: dict[str, Tensor] = {}
    for one in units:
        if numbers[one.name] < one.size:
            mask = torch.zeros(one.size, dtype=torch.bool)
            mask[torch.randperm(one.size, generator=generator)[: numbers[one.name]]] = True
            kept[one.name] = mask.reshape(one.shape)
    return replace(plan, kept=kept)
