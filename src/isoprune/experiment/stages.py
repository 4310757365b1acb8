"""A finished network: found in the store under the digest of all it depends on, or made there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment import networks
from isoprune.experiment.config import Experiment
from isoprune.experiment.digests import stage_config, stage_digest
from isoprune.experiment.store import Store, forget_checkpoint, read_facts, read_tensors, save_network
from isoprune.types import IsopruneError, Splits
from isoprune.types.files import clear_temporary

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]
Make = Callable[[Path], tuple[nn.Module, dict[str, Any]]]


@dataclass(frozen=True)
class Stage:
    """A finished network and what is known of it."""

    name: str
    model: nn.Module
    facts: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Bench:
    """What every stage of one run shares."""

    experiment: Experiment
    config: Mapping[str, Any]
    splits: Splits
    store: Store
    on_event: OnEvent


def find_or_make(bench: Bench, name: str, make: Make) -> Stage:
    """Return a stage from the store, or make it there while no other process does."""
    key = stage_digest(bench.config, name)
    folder = bench.store.folder(name, key)
    if (stage := _find(name, folder)) is not None:
        return stage
    with bench.store.making(folder):
        if (stage := _find(name, folder)) is not None:
            return stage
        clear_temporary(folder)
        started = time.perf_counter()
        try:
            model, found = make(folder)
        except IsopruneError as error:
            # Where it went wrong, in the error's own type: Diverged stays Diverged.
            error.args = (f"{name} {key}, seed {bench.experiment.seed}: {error}", *error.args[1:])
            raise
        facts = {
            "stage": name,
            "digest": key,
            "config": stage_config(bench.config, name),
            "in_shape": list(bench.splits.in_shape),
            "classes": bench.splits.classes,
            # A training that was interrupted took longer than its last part.
            "seconds": sum(row["seconds"] for row in found.get("history", ()))
            or time.perf_counter() - started,
            **found,
        }
        save_network(folder, model.state_dict(), facts)
        forget_checkpoint(folder)
        return Stage(name, model.eval(), facts, folder)


def _find(name: str, folder: Path) -> Stage | None:
    facts = read_facts(folder)
    if facts is None:
        return None
    model = networks.rebuild(facts, read_tensors(folder, facts), where=str(folder))
    return Stage(name, model, facts, folder)
