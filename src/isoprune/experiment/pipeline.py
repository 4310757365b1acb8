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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.experiment import networks, rewind, seeds
from isoprune.experiment.config import Choice, Experiment, choice
from isoprune.experiment.digests import canonical, digest, run_digest, stage_digest
from isoprune.experiment.measure import measure_stage
from isoprune.experiment.pruned import check_length, make_pruned
from isoprune.experiment.record import make_record
from isoprune.experiment.signatures import bind, resolve
from isoprune.experiment.stages import Bench, OnEvent, Stage, find_or_make
from isoprune.experiment.store import Store, read_facts
from isoprune.experiment.train import train_stage
from isoprune.pruning.pruned import as_pruned
from isoprune.signals.signals import Signals
from isoprune.training import Watch, check_alone
from isoprune.types import Plan, Splits
from isoprune.types.files import clear_temporary, read_json, write_json
from isoprune.types.samples import inputs_at


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
    check_alone()
    experiment = resolve(experiment)
    config = experiment.as_dict()
    key = run_digest(config)
    if (record := store.read_record(key)) is not None:
        return record
    bench = Bench(experiment, config, splits_of(experiment), store, on_event)
    with store.making(store.folder("runs", key)):
        if (record := store.read_record(key)) is not None:
            return record
        clear_temporary(store.folder("runs", key))
        stages = _stages(bench)
        started = time.perf_counter()
        measured = {stage.name: _measured(bench, stage) for stage in stages}
        facts = {stage.name: stage.facts for stage in stages}
        record = make_record(
            key, name, config, facts, measured, measure_seconds=time.perf_counter() - started
        )
        store.write_record(record)
        return record


def make_stage(
    experiment: Experiment,
    store: Store,
    *,
    stage: str,
    name: str = "run",
    on_event: OnEvent = lambda _: None,
    keep: Sequence[int] = (),
) -> None:
    """Put a stage of the experiment, measured, into the store: all runs that share it find it there.

    ``keep`` are epochs of the dense network that other runs rewind to, besides its own.
    """
    del name
    check_alone()
    experiment = resolve(experiment)
    config = experiment.as_dict()
    if read_facts(store.folder(stage, stage_digest(config, stage))) is None:
        bench = Bench(experiment, config, splits_of(experiment), store, on_event)
        _measured(bench, _stages(bench, last=stage, keep=keep)[-1])


def _stages(bench: Bench, *, last: str = "retrained", keep: Sequence[int] = ()) -> list[Stage]:
    """Return the stages up to ``last``, found or made; without retraining there is no retrained one."""
    check_length(bench)
    rewinds = [] if bench.experiment.rewind is None else [bench.experiment.rewind]
    stages = [dense := _dense(bench, [*keep, *rewinds])]
    if last != "dense":
        stages.append(pruned := _pruned(bench, dense))
        if last != "pruned":
            stages.append(repaired := _repaired(bench, dense, pruned))
            if last == "retrained" and bench.experiment.retrain.epochs:
                stages.append(_retrained(bench, dense, repaired))
    return stages


def _dense(bench: Bench, keep: Sequence[int]) -> Stage:
    def make(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        keeping = rewind.keeper(folder, keep) if keep else None
        trained, found = train_stage(
            bench, _drawn(bench), bench.experiment.dense, "dense", folder, keep=keeping
        )
        return trained, {**found, "plan": Plan().as_dict(), "sizes": {}}

    return find_or_make(bench, "dense", make)


def _drawn(bench: Bench) -> nn.Module:
    return seeds.build_model(
        bench.experiment.model, bench.splits.in_shape, bench.splits.classes, seed=bench.experiment.seed
    )


def _pruned(bench: Bench, dense: Stage) -> Stage:
    return find_or_make(bench, "pruned", lambda folder: make_pruned(bench, dense.model, folder))


def _repaired(bench: Bench, dense: Stage, pruned: Stage) -> Stage:
    def make(_: Path) -> tuple[nn.Module, dict[str, Any]]:
        repair, plan = bench.experiment.repair, networks.plan_of(pruned.facts)
        reference, small = dense.model, pruned.model
        if bench.experiment.rewind is not None:
            example = inputs_at(bench.splits.validation, torch.arange(2))
            state = _state_at(bench, dense, bench.experiment.rewind)
            # What a repair restores is then what the dense network was at that epoch.
            reference, small = rewind.rewound(dense.model, state, plan, example)
        repaired = bind("repair", repair)(
            dataclasses.replace(as_pruned(small), dense=reference, plan=plan),
            Signals(small, _batches(bench, repair)),
            generator=seeds.generator(bench.experiment.seed, "repair"),
        )
        return repaired, {key: pruned.facts[key] for key in ("plan", "sizes")}

    return find_or_make(bench, "repaired", make)


def _state_at(bench: Bench, dense: Stage, epoch: int) -> Mapping[str, Tensor]:
    """Return the dense network's tensors after an epoch; if they were not kept, it is trained once more."""

    def train(keep: rewind.Keep, on_epoch: Callable[[rewind.Row], object]) -> None:
        training = bench.experiment.dense
        if "advice" in dense.facts:  # Not once more at the rates that were given up.
            training = dataclasses.replace(training, lr=dense.facts["advice"]["lr"])
        train_stage(
            bench, _drawn(bench), training, "dense", dense.folder, again=Watch(keep=keep, on_epoch=on_epoch)
        )

    if epoch == bench.experiment.dense.epochs:
        return dense.model.state_dict()
    with bench.store.making(dense.folder):
        return rewind.state_at(dense.folder, epoch, dense.facts["history"], train)


def _retrained(bench: Bench, dense: Stage, repaired: Stage) -> Stage:
    def make(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
        retrain = bench.experiment.retrain
        trained, found = train_stage(bench, repaired.model, retrain, "retrained", folder, dense=dense.model)
        return trained, {**found, **{key: repaired.facts[key] for key in ("plan", "sizes")}}

    return find_or_make(bench, "retrained", make)


def _measured(bench: Bench, stage: Stage) -> dict[str, Any]:
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


def _batches(bench: Bench, method: Choice) -> seeds.SeededBatches:
    return seeds.batches(
        method, bench.splits.train, batch=bench.experiment.dense.batch, seed=bench.experiment.seed
    )


def splits_of(experiment: Experiment) -> Splits:
    """Return the data of a resolved experiment, cut by its seed."""
    return _load(canonical(experiment.data.as_dict()), experiment.seed)


@functools.lru_cache(maxsize=2)  # A worker's next run is most often on the same data.
def _load(data: str, seed: int) -> Splits:
    return bind("data", choice(json.loads(data), "data"))(seed=seed)
