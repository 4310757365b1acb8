"""A study: every experiment of a grid, once, on a few processes, dense networks first and shared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.experiment.config import Experiment
from isoprune.experiment.digests import digest, run_digest
from isoprune.experiment.executor import Executor, Job, OnEvent, Outcome
from isoprune.experiment.grid import Study
from isoprune.experiment.recipe_steps import PlacedStep, placed
from isoprune.experiment.remote import open_mirror, put
from isoprune.experiment.resolve import resolve
from isoprune.experiment.step_types import Retrain, Rewind, Train, kind_of
from isoprune.experiment.store import Store
from isoprune.types.config_keys import SECTIONS
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json

REST = 1  # What a task does besides epochs (load, prune, measure), counted as one epoch in the ETA.


@dataclass(frozen=True)
class StudyWork:
    """The unfinished tasks of a study.

    ``runs`` are the digests of all its runs, ``kept`` those that are finished already. Of every
    task, ``labels`` says what it is in a few words, ``epochs`` how long it is.
    """

    study: Study
    store: Store
    runs: tuple[str, ...]
    kept: tuple[str, ...]
    tasks: tuple[Job, ...]
    labels: Mapping[str, str]
    epochs: Mapping[str, int]


@dataclass(frozen=True)
class Failure:
    label: str
    outcome: Outcome


def plan_work(study: Study, store: Store) -> StudyWork:
    """Return the tasks that bring a study to its end from what the store holds.

    A step that several runs share is a task of its own, and so is every dense network: two tasks
    never make the same. Every option of every experiment is checked before the first network is trained.

    Raises:
        IsopruneError: For the first experiment that cannot work.
    """
    experiments = {}
    for experiment in study.experiments:
        resolved = resolve(experiment)
        experiments[run_digest(resolved.as_dict())] = resolved
    kept = tuple(key for key in experiments if store.read_record(key) is not None)
    left = {key: e for key, e in experiments.items() if key not in kept}
    missing = {
        key: [step for step in placed(experiment) if not store.finished(step.digest)]
        for key, experiment in left.items()
    }
    runs_of = Counter(step.digest for steps in missing.values() for step in steps)
    tasks: dict[str, Job] = {}
    labels, epochs = {}, {}
    for key, experiment in left.items():
        config = experiment.as_dict()
        work = {"config": config, "store": store.url or str(store.root), "name": study.name}
        data = digest([config["data"], config["seed"]])
        after, own = None, 0
        for step in missing[key]:
            dense = isinstance(step.step, Train)
            if not dense and runs_of[step.digest] < 2:
                own += _epochs(experiment, step)
                continue
            name = f"{step.role}-{step.digest}"
            if name not in tasks:
                task = {"do": step.role, "place": step.place, "keep": [], **work}
                tasks[name] = Job(name, task, after=after, data=data)
                labels[name] = (
                    f"{step.label} {label(experiment, study.axes, only=_sections(experiment, step))}"
                )
                epochs[name] = _epochs(experiment, step) + REST
            if dense:
                # While it trains it keeps what its runs rewind to; later, it would be trained again.
                rewinds = [s.step.epoch for s in placed(experiment) if isinstance(s.step, Rewind)]
                tasks[name].work["keep"].extend(dict.fromkeys(rewinds))
            after = name
        tasks[key] = Job(key, {"do": "run", **work}, after=after, data=data)
        labels[key] = label(experiment, study.axes)
        epochs[key] = own + REST
    in_order = sorted(tasks.values(), key=lambda task: task.work.get("place", math.inf))
    return StudyWork(study, store, tuple(experiments), kept, tuple(in_order), labels, epochs)


def _epochs(experiment: Experiment, step: PlacedStep) -> int:
    """Return the epochs of a step, and of the copy that is trained to measure its instability."""
    copied = isinstance(step.step, Retrain) and experiment.measure.instability is not None
    return step.epochs * (2 if copied else 1)


def _sections(experiment: Experiment, last: PlacedStep) -> set[str]:
    """Return the sections of a file that a step depends on."""
    common = {"seed", "data", "model"}
    if not experiment.is_short:
        return {*common, "steps"}
    return {*common, *(SECTIONS[kind_of(step)] for step in experiment.steps[: last.place + 1])}


def run_work(work: StudyWork, executor: Executor, *, on_event: OnEvent) -> list[Failure]:
    """Do what is left of a study and return what failed; the rest is finished and in the store."""
    outcomes = executor.execute(work.tasks, on_event)
    failed = {key: outcome for key, outcome in outcomes.items() if outcome.error}
    # A dense network that failed takes its runs with it: told once.
    after = {task.id: task.after for task in work.tasks}
    return [Failure(work.labels[key], found) for key, found in failed.items() if after[key] not in failed]


def write_listing(work: StudyWork) -> None:
    """Write ``studies/<name>.json``, which runs are the study's, if it is not there already.

    It is written before the first run, so that those that have ended can be reported at any time.
    """
    listing = {"version": 1, "name": work.study.name, "axes": dict(work.study.axes), "runs": list(work.runs)}
    path = work.store.study_path(work.study.name)
    try:
        found = read_json(path, remedy="")
    except (FileNotFoundError, DamagedFile):  # It is known what it has to be.
        found = None
    if found != listing:
        work.store.write_study(work.study.name, listing)
        if work.store.url:
            put(open_mirror(work.store.url), f"studies/{path.name}", path.read_bytes())


def label(
    experiment: Experiment, axes: Mapping[str, Sequence[Any]], only: Collection[str] | None = None
) -> str:
    """Return an experiment's label within its study: "relu orthp lr=0.01 seed=1"."""
    words = []
    for axis in axes:
        if len(axes[axis]) < 2 or (only is not None and axis.split(".")[0] not in only):
            continue
        found: Any = experiment.as_dict()
        for part in axis.split("."):
            if isinstance(found, list):
                found = found[int(part)]
            else:
                found = found.get(part) if isinstance(found, dict) else None
        if axis == "steps" and isinstance(found, list):
            found = "-".join(step["kind"] for step in found)
        if isinstance(found, dict):
            found = _varied(found, axes[axis]) or axis.split(".")[-1]
        if found is not None:
            words.append(str(found) if isinstance(found, str) else f"{axis.split('.')[-1]}={found}")
    return " ".join(words) or experiment.model.name


def _varied(method: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Return a table's name and what differs among the tables of its axis; of tables within, their names."""
    tables = [value if isinstance(value, dict) else {"name": value} for value in values]
    keys = dict.fromkeys(key for table in tables for key in ("name", *table))
    varied = [key for key in keys if key == "name" or len({repr(table.get(key)) for table in tables}) > 1]
    values_here = [method[key] for key in varied if method.get(key) is not None]
    return " ".join(
        str(value.get("name", "")) if isinstance(value, dict) else str(value) for value in values_here
    )
