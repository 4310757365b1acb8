"""One experiment: splits -> dense -> scores -> plan -> pruned -> repaired -> retrained -> record.

No stage looks back. Each takes a network and makes a new one, which lies in the store under the
digest of all it depends on: found there, it is not made again; interrupted, its training goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.experiment import networks, seeds
from isoprune.experiment.choice import bind, resolve, schedule
from isoprune.experiment.config import Choice, Experiment, Training, choice
from isoprune.experiment.digests import canonical, digest, run_digest, stage_config, stage_digest
from isoprune.experiment.files import clear_temporary, read_json, write_json
from isoprune.experiment.measure import measure_stage
from isoprune.experiment.record import make_record
from isoprune.experiment.store import Store, forget_checkpoint, read_facts, read_tensors, save_network
from isoprune.graph import Constraint, Graph, trace
from isoprune.isometry import jacobian_singular_values
from isoprune.pruning import make_plan, prune_by
from isoprune.samples import inputs_at
from isoprune.training import fit
from isoprune.types import IsopruneError, Plan, Splits

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Stage:
    """A finished network and what is known of it."""

    name: str
    model: nn.Module
    facts: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class _Bench:
    """What every stage of one run shares."""

    experiment: Experiment
    config: Mapping[str, Any]
    splits: Splits
    store: Store
    on_event: OnEvent


def run(
    experiment: Experiment, store: Store, *, name: str = "run", on_event: OnEvent = lambda _: None
) -> dict[str, Any]:
    """Return the record of an experiment, from the store or by running it.

    Args:
        experiment: What to do; equal experiments give equal bits (with equal versions and one thread).
        store: Where finished stages are found and put.
        name: The study's name, written into the record.
        on_event: Called with {"stage", "epoch", "epochs"} while networks train.

    Raises:
        IsopruneError: Bad options, damaged or unwritable store, or a training that diverged.
    """
    experiment = resolve(experiment)
    config = experiment.as_dict()
    key = run_digest(config)
    if (record := store.read_record(key)) is not None:
        return record
    bench = _Bench(experiment, config, _splits(experiment), store, on_event)
    with store.making(store.folder("runs", key)):
        if (record := store.read_record(key)) is not None:
            return record
        clear_temporary(store.folder("runs", key))
        dense = _dense(bench)
        pruned = _pruned(bench, dense)
        repaired = _repaired(bench, dense, pruned)
        stages = [dense, pruned, repaired]
        if experiment.retrain.epochs:
            stages.append(_retrained(bench, repaired))
        started = time.perf_counter()
        measured = {stage.name: _measured(bench, stage) for stage in stages}
        facts = {stage.name: stage.facts for stage in stages}
        record = make_record(
            key, name, config, facts, measured, measure_seconds=time.perf_counter() - started
        )
        store.write_record(record)
        return record


def train_dense(
    experiment: Experiment, store: Store, *, name: str = "run", on_event: OnEvent = lambda _: None
) -> None:
    """Put the experiment's dense network into the store: all runs on it then find it there."""
    del name
    experiment = resolve(experiment)
    config = experiment.as_dict()
    if read_facts(store.folder("dense", stage_digest(config, "dense"))) is None:
        _dense(_Bench(experiment, config, _splits(experiment), store, on_event))


def _dense(bench: _Bench) -> Stage:
    def make(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        model = seeds.build_model(
            bench.experiment.model, bench.splits.in_shape, bench.splits.classes, seed=bench.experiment.seed
        )
        trained, history = _train(bench, model, bench.experiment.dense, "dense", folder)
        return trained, {"history": history, "removed": {}, "sizes": {}}

    return _stage(bench, "dense", make)


def _pruned(bench: _Bench, dense: Stage) -> Stage:
    def make(_: Path) -> tuple[nn.Module, dict[str, Any]]:
        prune = bench.experiment.prune
        example = inputs_at(bench.splits.validation, torch.arange(2))
        score = bind("criterion", prune.criterion)

        def planner(graph: Graph, links: Sequence[Constraint]) -> Plan:
            scores = score(
                dense.model,
                graph,
                _batches(bench, prune.criterion),
                generator=seeds.generator(bench.experiment.seed, "scores"),
            )
            return make_plan(
                graph,
                scores,
                ratio=prune.ratio,
                allocation=prune.allocation,
                scope=prune.scope,
                round_to=prune.round_to,
                links=links,
            )

        result = prune_by(dense.model, example, trace(dense.model, example), planner)
        return result.model, {
            "removed": {group: list(channels) for group, channels in result.plan.removed.items()},
            "sizes": networks.changed_sizes(dense.model, result.model),
            "realised": result.realised,
            "verification": {"max_abs_error": result.verification.max_abs_error},
        }

    return _stage(bench, "pruned", make)


def _repaired(bench: _Bench, dense: Stage, pruned: Stage) -> Stage:
    def make(_: Path) -> tuple[nn.Module, dict[str, Any]]:
        repair = bench.experiment.repair
        repaired = bind("repair", repair)(
            pruned.model,
            dense=dense.model,
            plan=networks.plan_of(pruned.facts),
            batches=_batches(bench, repair),
            generator=seeds.generator(bench.experiment.seed, "repair"),
        )
        return repaired, {key: pruned.facts[key] for key in ("removed", "sizes")}

    return _stage(bench, "repaired", make)


def _retrained(bench: _Bench, repaired: Stage) -> Stage:
    def make(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        trained, history = _train(bench, repaired.model, bench.experiment.retrain, "retrained", folder)
        return trained, {"history": history, **{key: repaired.facts[key] for key in ("removed", "sizes")}}

    return _stage(bench, "retrained", make)


def _stage(bench: _Bench, name: str, make: Callable[[Path], tuple[nn.Module, dict[str, Any]]]) -> Stage:
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


def _train(
    bench: _Bench, model: nn.Module, training: Training, stage: str, folder: Path
) -> tuple[nn.Module, list[dict[str, Any]]]:
    if not training.epochs or training.lr is None:
        return model, []
    inputs = seeds.jsv_inputs(bench.splits.validation, training.jsv_samples, seed=bench.experiment.seed)
    return fit(
        model,
        bench.splits,
        epochs=training.epochs,
        lr=training.lr,
        schedule=schedule(training),
        batch=training.batch,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        steps=training.steps,
        generator=seeds.generator(bench.experiment.seed, stage),
        measure=functools.partial(_mean_jsv, inputs=inputs) if training.jsv_samples else None,
        on_epoch=lambda row: bench.on_event(
            {"stage": stage, "epoch": row["epoch"], "epochs": training.epochs}
        ),
        checkpoint=folder / "checkpoint" / "state",
    )


def _mean_jsv(model: nn.Module, *, inputs: Tensor) -> dict[str, float]:
    return {"jsv_mean": float(jacobian_singular_values(model, inputs).double().mean())}


def _measured(bench: _Bench, stage: Stage) -> dict[str, Any]:
    """Return the stage's numbers; they lie beside its network, so runs that share it measure it once."""
    measuring = bench.experiment.measure
    path = stage.folder / f"measured-{digest(dataclasses.asdict(measuring))}.json"
    try:
        return read_json(path, remedy="Delete it and start again: it is measured anew.")
    except FileNotFoundError:
        numbers = measure_stage(stage.model, bench.splits, measuring, seed=bench.experiment.seed)
        write_json(path, numbers)
        # As a later run will read it, so that the record does not depend on who measured.
        return read_json(path, remedy="")


def _batches(bench: _Bench, method: Choice) -> seeds.SeededBatches:
    return seeds.batches(
        method, bench.splits.train, batch=bench.experiment.dense.batch, seed=bench.experiment.seed
    )


def _splits(experiment: Experiment) -> Splits:
    return _load(canonical(experiment.data.as_dict()), experiment.seed)


@functools.lru_cache(maxsize=2)  # A worker's next run is most often on the same data.
def _load(data: str, seed: int) -> Splits:
    return bind("data", choice(json.loads(data), "data"))(None, seed=seed)
