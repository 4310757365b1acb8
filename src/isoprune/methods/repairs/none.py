"""No repair: the pruned network as it is."""

from __future__ import annotations

import copy

from torch import Generator, nn

from isoprune.types import Batches, Plan


def none(
    pruned: nn.Module,
    *,
    dense: nn.Module | None,
    plan: Plan | None,
    batches: Batches | None,
    generator: Generator,
) -> nn.Module:
    """Return a copy of the pruned network: the baseline that every repair is measured against."""
    return copy.deepcopy(pruned)
