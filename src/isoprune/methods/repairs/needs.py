"""What a repair must be given besides the pruned network, and the error where it was not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from isoprune.types import Batches, IsopruneError, Plan


def need_batches(batches: Batches | None, repair: str) -> Batches:
    """Return ``batches``.

    Raises:
        IsopruneError: If there are none.
    """
    if batches is None:
        raise IsopruneError(
            f"Repair {repair!r} looks at data, and batches is None. Pass batches=, (inputs, targets) of "
            "training data; its targets are not read."
        )
    return batches


def need_dense(dense: nn.Module | None, repair: str) -> nn.Module:
    """Return ``dense``.

    Raises:
        IsopruneError: If it is None.
    """
    if dense is None:
        raise IsopruneError(
            f"Repair {repair!r} looks at the network before pruning, and dense is None. Pass dense=."
        )
    return dense


def need_plan(plan: Plan | None, repair: str) -> Plan:
    """Return ``plan``.

    Raises:
        IsopruneError: If it is None.
    """
    if plan is None:
        raise IsopruneError(
            f"Repair {repair!r} must know which channels went, and plan is None. Pass plan=, the plan by "
            "which the network was pruned (result.plan)."
        )
    return plan


def input_chunks(batches: Batches, samples: int, *, chunk: int = 64) -> Iterator[Tensor]:
    """Yield the first ``samples`` inputs, at most ``chunk`` at a time; in evaluation nothing couples them.

    Raises:
        IsopruneError: If there is not one.
    """
    left = samples
    for inputs, _ in batches:
        yield from inputs[:left].split(chunk)
        left -= min(len(inputs), left)
        if left <= 0:
            return
    if left == samples:
        raise IsopruneError("batches is empty: there is no input to look at. Pass at least one batch.")


def first_inputs(batches: Batches, samples: int) -> Tensor:
    """Return the first ``samples`` inputs as one tensor."""
    return torch.cat(list(input_chunks(batches, samples)))
