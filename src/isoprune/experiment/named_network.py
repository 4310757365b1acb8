"""Networks by name: of the store, of a saved folder, or of a source; each with its known facts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment.foreign_models import LIBRARIES
from isoprune.experiment.network_names import (
    RUNS,
    check_network,
    is_delivery,
    is_record,
    is_source,
    saved_place,
)
from isoprune.experiment.networks import load_network
from isoprune.experiment.saved_models import drawn_inputs, open_saved
from isoprune.experiment.store import STEP, Store
from isoprune.export import Source, manifest, open_source
from isoprune.export.folder import PLAN, settled
from isoprune.types import Plan
from isoprune.types.data import Preprocessing
from isoprune.types.errors import SOURCES, IsopruneError
from isoprune.types.record_files import WHOLE, read_record


@dataclass(frozen=True)
class NamedNetwork:
    """A network in eval mode, and the facts known of it.

    ``inputs`` are what its forward takes, and ``own_inputs`` says that its function gave them; how images
    become its inputs is ``preprocessing``, if that is known. ``facts`` are the store's; ``dense`` and
    ``repaired`` what the store holds of the same run.
    """

    label: str
    model: nn.Module
    inputs: Any = None
    own_inputs: bool = False
    plan: Plan | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] | None = None
    dense: nn.Module | None = None
    repaired: dict[str, nn.Module] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None


def of_source(name: str) -> Preprocessing | None:
    """Return how images become inputs of a network, if its folder or its library (timm) defines it."""
    if (place := saved_place(name)) is not None:
        return manifest.read(Path(place)).preprocessing
    return Preprocessing(0, (), (), transform=name) if name.startswith("timm:") else None


def open_network(
    name: str,
    *,
    stage: str | None = None,
    dense: str | None = None,
    build: str | None = None,
    shape: Sequence[int] | None = None,
    weights: Path | None = None,
    dense_weights: Path | None = None,
    seed: int = 0,
) -> NamedNetwork:
    """Return the network that ``name`` names, in eval mode.

    Args:
        name: A record.json or a run's folder; a network's folder in the store; a folder that `isoprune prune`
            or `isoprune.save` wrote; or a source, as `isoprune prune` takes.
        stage: Which network of a record; None: the pruned one, with its repaired form, and of the folder of
            `isoprune prune --data` its last one.
        dense: Names the network before pruning, in the same ways; None: what the store has of the same run.
        build: The source that makes the dense network of a saved folder, or the function that a network of a
            store names; None: what the folder names, if that is trusted.
        shape: Of a source's input, batch first.
        weights: A file of weights for a source; ``dense_weights`` for the dense one.
        seed: Of a source's random weights and inputs.

    Raises:
        IsopruneError: If there is no such network; it cannot be read; ``stage`` or ``weights`` do not go with
            it; a saved folder does not say what makes it.
    """
    check_network(name, stage)
    if dense is not None:
        check_network(dense)
    build = build or (dense if is_source(dense) else None)
    named = {text for text in (name, dense, build) if text is not None}
    network = _open_one(name, stage, build, named, shape, weights, seed)
    if dense is None:
        return network
    # Of a record, the one that its run began with.
    before = _open_one(dense, "dense" if is_record(dense) else None, build, named, shape, dense_weights, seed)
    return replace(network, dense=before.model, notes=(*network.notes, *before.notes))


def _open_one(
    name: str,
    stage: str | None,
    build: str | None,
    named: Collection[str],
    shape: Sequence[int] | None,
    weights: Path | None,
    seed: int,
) -> NamedNetwork:
    path = Path(name)
    place = settled(path)
    if (place / PLAN).is_file() and not (place / STEP).is_file():
        _only_for_sources(name, stage, weights, "a saved network")
        return _saved(place, build, shape, seed)
    if path.exists():
        if weights is not None:
            raise IsopruneError(
                f"{name} has its own weights. Leave out --weights, or give a source: {SOURCES}."
            )
        return _stored(path, stage, named)
    _only_for_sources(name, stage, None, "a source")
    source = open_source(name, shape=shape, weights=weights, seed=seed, with_inputs=False)
    return _of(source, f"{type(source.model).__name__} ({name})", seed, shaped=shape is not None)


def _only_for_sources(name: str, stage: str | None, weights: Path | None, kind: str) -> None:
    if stage is not None:
        raise IsopruneError(f"{name} is {kind} and has no stages. Leave out --stage.")
    if weights is not None:
        raise IsopruneError(f"{name} is {kind} with its own weights. Leave out --weights.")


def _of(source: Source, label: str, seed: int, *, shaped: bool) -> NamedNetwork:
    drawn = (
        f"The weights of {source.text} are random (seed {seed}). Give trained ones with a file of weights."
    )
    given = not shaped and source.text.partition(":")[0] not in LIBRARIES
    own = given and source.example_inputs is not None
    return NamedNetwork(
        label,
        source.model,
        source.example_inputs,
        own_inputs=own,
        notes=(drawn,) if source.drawn else (),
        preprocessing=of_source(source.text),
    )


def _saved(place: Path, build: str | None, shape: Sequence[int] | None, seed: int) -> NamedNetwork:
    model, facts, source = open_saved(place, build=build, shape=shape, seed=seed)
    made = _of(source, f"{type(model).__name__} ({place})", seed, shaped=shape is not None)
    if made.inputs is None:
        made = replace(made, inputs=drawn_inputs(facts, seed))
    how = facts.preprocessing or made.preprocessing
    return replace(made, model=model, plan=facts.plan, notes=(), preprocessing=how)


def _stored(path: Path, role: str | None, named: Collection[str]) -> NamedNetwork:
    folder, repaired_folder = _folders(path, role)
    model, facts = load_network(folder, named)
    if path.is_dir() and folder == path and role not in (None, facts["role"]):
        raise IsopruneError(
            f"{path} is one network, of stage {facts['role']}. Leave out --stage, or give a record."
        )
    repaired = {}
    if repaired_folder is not None:
        network, of = load_network(repaired_folder, named)
        method = of["config"]["steps"][-1]["method"]
        if method["name"] != "none":
            repaired[_repair_name(method)] = network
    dense = folder.resolve().with_name(facts["dense"])
    known = dense != folder.resolve() and (dense / STEP).exists()
    return NamedNetwork(
        f"{facts['role']} {facts['config']['model']['name']} ({folder})",
        model,
        plan=facts["plan"],
        facts=facts,
        dense=load_network(dense, named)[0] if known else None,
        repaired=repaired,
    )


def _repair_name(choice: dict[str, Any]) -> str:
    """Return the name of a repair; of a chain, those of its steps."""
    steps = choice.get("steps") if choice["name"] == "chain" else None
    return " + ".join(step["name"] for step in steps) if steps else choice["name"]


def _folders(path: Path, role: str | None) -> tuple[Path, Path | None]:
    """Return the folder of the network, and that of its repaired form if the record has one to show."""
    delivery = is_delivery(path) or is_delivery(path.parent)
    if path.is_dir() and (path / "record.json").exists():
        path = path / "record.json"
    if path.is_dir():
        return path, None
    # ROOT/runs/<digest>/record.json, but a delivery has its store within; not where a link there leads.
    run = path.parent.resolve()
    store = run / RUNS if delivery else run.parent.parent
    record = read_record(path, WHOLE)
    # With --epochs 0 nothing is retrained, and what is delivered is the repaired network.
    usual = record.networks[-1].role if delivery else "pruned"
    wanted = record.network(role or usual)
    if wanted is None:
        roles = ", ".join(dict.fromkeys(network.role for network in record.networks))
        raise IsopruneError(f"{path} has no stage {role or usual!r}. It has: {roles}.")
    repaired = record.network("repaired") if role is None and not delivery else None
    known = Store(store)
    return known.folder(wanted.digest), None if repaired is None else known.folder(repaired.digest)
