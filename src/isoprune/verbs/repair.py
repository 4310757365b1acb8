"""Repair a pruned network before it is retrained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.isometry.picks import OutputPick
from isoprune.methods.repairs import REPAIRS, chain
from isoprune.pruning.grains import require_grain
from isoprune.pruning.mask import masks_of
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.errors import pick
from isoprune.types.method import method_of, name_of
from isoprune.types.methods import Repaired
from isoprune.types.network import Network
from isoprune.types.seeded import seeded
from isoprune.types.task import CLASSIFICATION, Task
from isoprune.verbs.tasks import task_of

Repair = Callable[..., nn.Module | Repaired]


def repair(
    network: Network,
    method: str | Repair | Sequence[str | Repair] = "auto",
    *,
    batches: Iterable[Any] | None = None,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    output: OutputPick = None,
    seed: int = 0,
    **options: Any,
) -> Pruned:
    """Return the network repaired: what to retrain. What was given stays as it is.

    A repair that trains ("polish", and "auto" by its budget) has its samples in ``history[-1]["samples"]``.

    Args:
        network: From `isoprune.prune`, or any module; a module is its own dense network, and repairs that
            compare with the one before pruning refuse it.
        method: A name that `isoprune methods` lists, a function of your own with a repair's signature, or a
            list of them, done one after the other. "auto" needs ``batches``.
        batches: Training data, for repairs that look at some; never that of validation or test.
        task, loss, output: What a batch means; as in `prune`.
        seed: For repairs that draw.
        options: The method's own, such as ``retrain_budget`` of "auto"; those of a list's steps are bound
            with functools.partial.

    Raises:
        IsopruneError: If the method is unknown, lacks what it needs, or does not know the grain of the plan.
    """
    several = not (isinstance(method, str) or callable(method))
    steps = [pick(REPAIRS, one, "repair") if isinstance(one, str) else one for one in _listed(method)]
    pruned = as_pruned(network)
    for step in steps:
        require_needs(step, pruned, batches)
    function = functools.partial(chain, steps=steps) if several else steps[0]
    generator = seeded(seed)
    signals = Signals(pruned.model, batches, task_of(task, loss, output))
    try:
        made = Repaired.of(function(pruned, signals, generator=generator, **options))
    except NotImplementedError as error:
        if "not implemented for" not in str(error):
            raise
        raise IsopruneError(
            f"This repair computes what torch cannot in that type ({error}). Repair network.float(), and "
            "convert what comes out."
        ) from error
    _require_masks(pruned.model, made.model)
    names = [name_of(step) for step in steps]
    entry: dict[str, Any] = {"step": "repair", "method": names if several else names[0]}
    if made.judged:
        entry["samples"] = {"trained": made.trained, "judged": made.judged}
    return replace(pruned, model=made.model, history=(*pruned.history, entry))


def require_needs(repair: Repair, pruned: Pruned, batches: Iterable[Any] | None) -> None:
    """Refuse a repair that lacks what it needs.

    Raises:
        IsopruneError: If it looks at data, and there is none, or at the network before pruning, and that is
            not known; if it does not know units of the plan's grain.
    """
    needs, name = method_of(repair).needs, name_of(repair)
    if "data" in needs and batches is None:
        raise IsopruneError(
            f"Repair {name!r} looks at data, and batches is None. Pass batches=, such as a DataLoader of "
            "training data; labels are not read."
        )
    require_grain(repair, pruned.plan.grain)
    if "dense" in needs and pruned.dense is pruned.model:
        raise IsopruneError(
            f"Repair {name!r} looks at the network before pruning, and a module alone does not know it. Pass "
            "what isoprune.prune returned."
        )


def _require_masks(before: nn.Module, after: nn.Module) -> None:
    """Refuse what a repair of one's own made of a masked network, if its masks are gone or others.

    Raises:
        IsopruneError: Naming the tensor.
    """
    now = masks_of(after)
    for name, kept in masks_of(before).items():
        if name not in now or not torch.equal(now[name], kept):
            raise IsopruneError(
                f"The repair gave back a network in which the mask of {name} is gone or another. Change the "
                "weights of a copy (copy.deepcopy), and leave its parametrizations as they are."
            )


def _listed(method: str | Repair | Sequence[str | Repair]) -> Sequence[str | Repair]:
    return [method] if isinstance(method, str) or callable(method) else method
