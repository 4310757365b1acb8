"""The network of a step: saved beside its record, and built again by the config that the record names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from torch import Tensor, nn

from isoprune.experiment.building import built
from isoprune.experiment.config import Choice, choice
from isoprune.experiment.digests import digest
from isoprune.experiment.seeds import build_model
from isoprune.experiment.signatures import takes_weights
from isoprune.experiment.step_types import Count, Whole
from isoprune.experiment.store import STEP, again, read_step, write_step
from isoprune.experiment.trusted_names import trusted
from isoprune.experiment.validation import read
from isoprune.export import checkpoint, manifest
from isoprune.export.folder import PLAN, DamagedNetwork, adding
from isoprune.methods.codecs.clusters import MOST_BITS, cluster, clustered
from isoprune.pruning.costs import Costs
from isoprune.pruning.mask import harden
from isoprune.pruning.pruned import as_pruned
from isoprune.types import Plan
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, read_file


@dataclass(frozen=True)
class Made:
    """What a step made: a network, the plan by which it came from the dense one, and what both cost.

    ``facts`` is what else is known: of a training "history" and "samples", of a pruning "proof".
    """

    model: nn.Module
    plan: Plan
    costs: Costs
    facts: Mapping[str, Any] = field(default_factory=dict)


class _Config(Struct, frozen=True):
    seed: Whole
    model: dict[str, Any]
    data: dict[str, Any]
    steps: list[dict[str, Any]]


class _Facts(Struct, frozen=True):
    # What is relied on of a step.json.
    role: str
    digest: str
    dense: str
    config: _Config
    in_shape: Annotated[list[Count], Meta(min_length=1, max_length=8)]
    classes: int
    seconds: float
    files: dict[str, str]
    coded_bytes: Whole | None = None
    peak_memory: Whole | None = None
    history: list[dict[str, Any]] = []


def save_step(
    folder: Path, made: Made, facts: Mapping[str, Any], *, dense: nn.Module, example: Tensor, source: str
) -> None:
    """Save what a step made, as `isoprune.save` does, and then its record, which marks it as finished.

    Args:
        dense: The network as it is built when it is read: only what differs from it is written.
        example: What its forward takes.
        source: What it is made of, in words.
    """
    # Shared weights are so few numbers a layer that each is found again as it was.
    plain = harden(made.model) if clustered(made.model) else made.model
    pruned = replace(as_pruned(dense), model=plain, plan=made.plan, costs=made.costs, example_inputs=example)
    with adding(folder) as part:
        checkpoint.write(pruned, part, source=source)
    write_step(folder, {**made.facts, **facts})


def read_made(folder: Path, facts: Mapping[str, Any], build: Callable[[], nn.Module]) -> Made:
    """Return what a step made: its network in eval mode, masked or its weights shared as they were.

    Args:
        facts: Its record. What makes the network is not taken from there.
        build: Makes the dense network, as the experiment draws it.

    Raises:
        DamagedFile: If it is not what was saved, or another network than ``build`` makes.
    """
    try:
        if hashlib.sha256(read_file(folder / PLAN)).hexdigest() != facts["files"].get(PLAN):
            raise DamagedNetwork(f"{folder / PLAN} is damaged: its checksum is not the one in {STEP}")
        model, known = checkpoint.read(folder, build)
        if known.plan is None or known.costs is None:
            raise DamagedNetwork(f"{folder / PLAN} has no plan")
    except FileNotFoundError:
        raise DamagedFile(
            f"{folder / PLAN} is missing, though {folder / STEP} names it. {again(folder)}"
        ) from None
    except DamagedNetwork as error:
        raise DamagedFile(f"{error.problem}. {again(folder)}") from None
    if facts.get("coded_bytes") is not None:
        model = cluster(model, conv_bits=MOST_BITS, linear_bits=MOST_BITS).model
    return Made(model.eval(), known.plan, known.costs, facts)


def load_network(folder: str | Path, named: Collection[str] = ()) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a finished step, in eval mode, and its record, with its plan and its costs.

    Args:
        folder: Anybody's: of what its files name only our tables and the trusted zoos are called.
        named: Functions that the user named besides, as ``"module:function"``.

    Raises:
        IsopruneError: If there is none in ``folder``, it is damaged, its tensors are those of another
            network, or a function makes it that is not among ``named``.
    """
    folder = Path(folder)
    facts = checked_facts(folder)
    if facts is None:
        raise IsopruneError(
            f"{folder} holds no finished network (no {STEP}). "
            "Give a folder like runs/networks/<digest>, or a run's record.json."
        )
    config = facts["config"]
    model = without_weights(trusted("model", choice(config["model"], "model"), str(folder), named))
    make = partial(build_model, model, tuple(facts["in_shape"]), facts["classes"], seed=config["seed"])
    made = read_made(folder, facts, lambda: built(make, manifest.read(folder), str(folder)))
    return made.model, {**facts, "plan": made.plan, "costs": made.costs}


def checked_facts(folder: Path) -> dict[str, Any] | None:
    """Return the record of the finished step in ``folder``, or None if there is none.

    Raises:
        DamagedFile: If it is not what a run wrote: of other types, or in a folder of another config's name.
    """
    facts = read_step(folder)
    if facts is None:
        return None
    try:
        read(_Facts, facts)
    except IsopruneError as error:
        raise DamagedFile(f"{folder / STEP} is damaged: {error}") from None
    if digest(facts["config"]) != facts["digest"]:
        raise DamagedFile(f"{folder} is damaged: its name is not that of its config.")
    return facts


def without_weights(model: Choice) -> Choice:
    """Return the model as it is drawn: its tensors come from the store, not from where it once started."""
    if "weights" not in model.options or not takes_weights(model):
        return model
    return Choice(model.name, {**model.options, "weights": "none"})
