"""Parameters, and parts of them, that no recorded pass used: the channels that they could read stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from isoprune.graph.ledger import Ledger
from isoprune.graph.recording import Pass

Shapes = Mapping[str, torch.Size]


def freeze_unrun(ledger: Ledger, passes: Sequence[Pass], unrun: Shapes) -> None:
    """Freeze the channels that an unused parameter could read, judged by their number.

    What a module that never ran reads cannot be known. It can only be a tensor with a dimension as long as
    one of its parameter's: all channels that lie along such a dimension of a recorded tensor are kept.
    """
    owners: dict[int, str] = {}
    for name, shape in unrun.items():
        for size in shape:
            if size > 1:
                owners.setdefault(size, name)
    if not owners:
        return
    seen: set[tuple] = set()
    for planes, shape in _tensors(passes):
        for plane in planes:
            for d in plane.dims:
                name = owners.get(shape[d])
                key = plane.core.data_ptr(), plane.core.shape
                if name is not None and key not in seen:
                    seen.add(key)
                    ledger.freeze([plane], _reason(name))


def freeze_unread(ledger: Ledger, passes: Sequence[Pass]) -> None:
    """Let the parts of a tensor stay that every recorded pass cut away: positions beyond those that came.

    Longer inputs read them (`self.positions[:n]`), so what they do cannot be known.
    """
    read = np.zeros(ledger.size, dtype=bool)
    for one in passes:
        for node in one.nodes:
            if node.operation.family != "shape":
                for planes, _ in node.inputs:
                    for plane in planes:
                        read[plane.core.numpy()] = True
    for source in ledger.sources:
        own = np.arange(source.first, source.first + source.size)
        left = own[~read[own]]
        if source.tensor and 0 < len(left) < len(own):
            reason = f"part of {source.tensor} is cut away in all calls that were recorded: give one that "
            ledger.frozen.append((left, reason + "reads it as also="))


def _reason(name: str) -> str:
    return (
        f"{name} took no part in the forward, and could read them: give a call that runs it as also=, or "
        "prune without regard to it with unrun='ignore'"
    )


def _tensors(passes: Sequence[Pass]) -> Iterable:
    for one in passes:
        for node in one.nodes:
            yield from node.outputs
