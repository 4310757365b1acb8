"""`isoprune.diagnose`: the verdict on a network, and what every repair would restore, tried on a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from itertools import islice
from typing import Any

import torch
from torch import nn

from isoprune import isometry
from isoprune.isometry import Diagnosis
from isoprune.isometry.effort import BUDGET
from isoprune.isometry.picks import InputPick, OutputPick
from isoprune.methods.repairs import REPAIRS
from isoprune.pruning import Pruned
from isoprune.types import Batches, IsopruneError, Plan
from isoprune.types.errors import pick

_GIVEN = ("pruned", "dense", "plan", "batches", "generator")
_NOTHING = ("none", "chain")  # they return a copy: a chain without steps too
_HELD = 64  # batches of an iterator that can be read once: so many are kept for the repairs


def diagnose(
    model: nn.Module | Pruned,
    batches: Batches,
    dense: nn.Module | None = None,
    *,
    repairs: Iterable[str] | None = None,
    plan: Plan | None = None,
    samples: int | None = None,
    budget: float | int = BUDGET,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Return whether a network is fit to be retrained, which layers lost it, and what each repair restores.

    Args:
        model: In eval mode, as ``dense``; or what `isoprune.prune` returned.
        batches: (inputs, targets). Their first inputs are measured; repairs that need data get them too, so
            give training data.
        repairs: Names that `isoprune methods repair` lists, each tried on a copy. None: all, unless the
            network is healthy. Those that refuse are in ``refused`` with their reason.
        plan: What was removed, for repairs that look at it; that of a `Pruned` is known.

    Other arguments, and what raises, as in `isoprune.isometry.diagnose`.
    """
    if isinstance(model, Pruned):
        model, plan = model.model, model.plan if plan is None else plan
    if isinstance(batches, Iterator):
        batches = list(islice(batches, _HELD))
    where: dict[str, Any] = {"input": input, "output": output, "memory": memory, "seed": seed}
    found = isometry.diagnose(model, batches, dense, samples=samples, budget=budget, **where)
    if repairs is None:
        repairs = () if found.verdict == "healthy" else every_repair()
    tried = try_repairs(model, repairs, dense=dense, plan=plan, batches=batches, seed=seed)
    return isometry.with_repairs(found, tried, batches, **where)


def every_repair() -> list[str]:
    """Return the names of all repairs that do something by themselves, without an option."""
    return [
        name
        for name, method in REPAIRS.items()
        if name not in _NOTHING
        and all(p.default is not p.empty or p.name in _GIVEN for p in signature(method).parameters.values())
    ]


def try_repairs(
    pruned: nn.Module,
    names: Iterable[str],
    *,
    dense: nn.Module | None = None,
    plan: Plan | None = None,
    batches: Batches | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, nn.Module | str]]:
    """Yield the name of each repair with the network that it makes, in eval mode, or with why it does not.

    Raises:
        IsopruneError: If a name is unknown, before anything is tried.
    """
    methods = {name: pick(REPAIRS, name, "repair") for name in names}
    return _try_each(methods, pruned, dense, plan, batches, seed)


def _try_each(
    methods: dict[str, Callable[..., nn.Module]],
    pruned: nn.Module,
    dense: nn.Module | None,
    plan: Plan | None,
    batches: Batches | None,
    seed: int,
) -> Iterator[tuple[str, nn.Module | str]]:
    for name, method in methods.items():
        generator = torch.Generator().manual_seed(seed)
        try:
            made = method(pruned, dense=dense, plan=plan, batches=batches, generator=generator)
        except IsopruneError as error:
            yield name, str(error)
        except (
            Exception
        ) as error:  # a repair that stumbles over somebody's forward must not end the diagnosis
            yield name, f"It failed on this network: {type(error).__name__}: {error}"
        else:
            yield name, made.eval()
