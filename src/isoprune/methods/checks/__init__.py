"""Sanity checks: what a method chose, replaced by chance. Su et al., 2020; Frankle et al., 2021.

Of a plan `(plan, units, *, generator) -> Plan`; of the weights a repair. A check asks whether scores matter,
so it reads none: ``units`` are all units of the network, in its order, also of tensors that lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from isoprune.methods.checks.chance import mask_shuffle, random_ticket, smart_ratios
from isoprune.methods.checks.weight_shuffle import weight_shuffle
from isoprune.types import Plan

PLAN_CHECKS: dict[str, Callable[..., Plan]] = {
    f.__name__: f for f in (mask_shuffle, random_ticket, smart_ratios)
}
WEIGHT_CHECKS: dict[str, Callable[..., nn.Module]] = {f.__name__: f for f in (weight_shuffle,)}
CHECKS: dict[str, Callable[..., Plan | nn.Module]] = {
    f.__name__: f for f in (mask_shuffle, random_ticket, smart_ratios, weight_shuffle)
}

__all__ = ["CHECKS", "PLAN_CHECKS", "WEIGHT_CHECKS"]
