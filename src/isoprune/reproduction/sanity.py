"""`isoprune.sanity`: does a pruning method beat chance at its own ratios? Su et al., 2020."""

from __future__ import annotations

import functools
import inspect
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from isoprune.experiment.digests import digest
from isoprune.methods.checks import CHECKS, PLAN_CHECKS, WEIGHT_CHECKS
from isoprune.methods.criteria import CRITERIA
from isoprune.methods.repairs import REPAIRS
from isoprune.pruning import Pruned, prune_by
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.masking import mask_by
from isoprune.pruning.plan import plan_of_same_numbers
from isoprune.reproduction.sanity_result import DIVERGED, Sanity
from isoprune.training import Saving, evaluate
from isoprune.training.diverged import Diverged
from isoprune.training.fingerprint import data_digest, fingerprint
from isoprune.training.source import data_of
from isoprune.types import CLASSIFICATION, Data, IsopruneError, Network, Plan, Scores, Splits, Task
from isoprune.types.errors import check_known, did_you_mean
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json, write_json
from isoprune.types.method import method_of
from isoprune.types.network import module_of
from isoprune.types.seeded import derived_seed, seeded
from isoprune.types.task import task_with
from isoprune.types.value_digest import value_digest
from isoprune.verbs import prune, repair, retrain

OWN = "the method"
REINITIALISED, HALF_DATA = "reinitialised", "half_data"
BATTERY = (*CHECKS, REINITIALISED, HALF_DATA)
_FIXED = (
    "network",
    "data",
    "train",
    "validation",
    "lr",
    "task",
    "loss",
    "metrics",
    "seed",
    "watch",
    "saving",
)


def sanity(
    network: Network | Callable[[int], Network],
    example_inputs: Any = None,
    ratio: float | Mapping[str, float] | None = None,
    *,
    criterion: str | Callable[..., Scores] = "l1_norm",
    grain: str = "weight",
    allocation: str = "uniform",
    mask: bool = False,
    batches: Iterable[Any] | None = None,
    data: Data | Splits | None = None,
    train: Any = None,
    validation: Any = None,
    task: Task = CLASSIFICATION,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    lr: float | Literal["auto"] = "auto",
    seeds: Sequence[int] = (0, 1, 2),
    checks: Sequence[str] | None = None,
    margin: float = 0.01,
    where: Path | str | None = None,
    on_event: Callable[[str], object] = lambda _: None,
    **training: Any,
) -> Sanity:
    """Return whether a method beats chance: it and each check, trained alike, compared in pairs over seeds.

    A check replaces one thing that the method chose: which units of each tensor (``mask_shuffle``), how many
    of each too (``random_ticket``, ``smart_ratios``), where the kept weights lie (``weight_shuffle``), what
    they are (``reinitialised``), or half of the data that the criterion sees (``half_data``). A check that
    does not apply stands in ``refused`` with its reason. Masks of chance lie on the dense weights, and get
    the repair that the criterion brings; an update of weights (OBS and its kin) is the method's own.

    Args:
        network: Dense; or seed -> dense network, as for methods that prune at initialisation.
        example_inputs, ratio, criterion, grain, allocation, mask, batches: As in `prune`.
        data, train, validation, task, loss, metrics: As in `retrain`. Networks are judged on the test split
            of `Splits`, else on the validation data, after the last epoch.
        lr: Of all trainings; "auto": what `advise` finds for the method's own network and the first seed.
        seeds: Of what is drawn, and of the order of the samples. Intervals need two.
        checks: Of `BATTERY`; None: all.
        margin: Networks whose interval is within it are called level, in units of the metric.
        where: A folder in which finished networks' numbers, and the state of a training, are kept: the same
            call goes on from there.
        on_event: Called with a line before each training.
        training: Further arguments of `retrain`, equal for all: ``epochs``, ``schedule``, ...

    Cost: one training for each seed and for the method and each of its checks.

    Raises:
        IsopruneError: For an unknown check, a network that was pruned already, no data, no seeds.
    """
    _check(network, seeds, checks, margin, training)
    task = task_with(task, loss, metrics)
    given = data_of(data, train, validation)
    judge = given.test if isinstance(given, Splits) else given.validation
    if judge is None:
        raise IsopruneError("There is nothing to train on and to judge by. Give train= and validation=.")
    seen = None if batches is None else list(batches)
    how: dict[str, Any] = {"grain": grain, "allocation": allocation, "mask": mask, "task": task}
    made = functools.partial(_made, example_inputs, ratio, criterion, seen, how)
    facts = {"pruning": value_digest([criterion, ratio, grain, allocation, mask, seen])}
    facts |= {"task": value_digest(task.digests()), "example": value_digest(example_inputs)}
    facts |= {"judge": data_digest({"judge": judge}), "training": value_digest(sorted(training.items()))}
    store = _Numbers(None if where is None else Path(where))
    name, higher = task.judged_by
    values: dict[str, dict[int, float | None]] = {}
    refused: dict[str, str] = {}
    rate: float | str = lr
    for seed in seeds:
        dense = network if isinstance(network, Network) else network(seed)
        for check in (OWN, *(BATTERY if checks is None else checks)):
            if check in refused:
                continue
            settings = {**facts, "check": check, "lr": lr if check == OWN and seed == seeds[0] else rate}
            key = digest(fingerprint(module_of(dense), given, seeded(seed), settings))
            if key not in store.known:
                on_event(f"{check}, seed {seed}")
                try:
                    small = made(dense, check, seed)
                except IsopruneError as error:
                    if check == OWN:
                        raise
                    refused[check] = str(error)
                    continue
                store.known[key] = _trained(
                    small, given, judge, task, rate, seed, training, store.saving(key)
                )
                store.write()
            values.setdefault(check, {})[seed], used = store.known[key]
            rate = used if check == OWN and rate == "auto" else rate
    return Sanity(_label(criterion), name, higher, float(rate), margin, values, refused)


def _check(
    network: Any, seeds: Sequence[int], checks: Any, margin: float, training: Mapping[str, Any]
) -> None:
    if isinstance(network, Pruned) and network.plan:
        raise IsopruneError(
            "The network was pruned already, and the checks prune. Give the dense one: .dense."
        )
    if not seeds or len(set(seeds)) < len(seeds):
        raise IsopruneError(f"seeds is {list(seeds)}. Give different whole numbers, such as (0, 1, 2).")
    for check in checks or ():
        check_known(check, BATTERY, "check")
    if not margin >= 0:
        raise IsopruneError(f"margin is {margin}. Give 0 or more, in units of the metric.")
    known = [key for key in inspect.signature(retrain).parameters if key not in _FIXED]
    for key in training:
        if key not in known:
            raise IsopruneError(f"Unknown option {key!r} of retrain.{did_you_mean(key, known)}")


def _made(
    example_inputs: Any, ratio: Any, criterion: Any, batches: Any, how: dict[str, Any],
    dense: Network, check: str, seed: int,
) -> Pruned:  # fmt: skip
    """Return the network that a check makes in place of the method's."""
    known = method_of(CRITERIA.get(criterion) or criterion)
    if check == HALF_DATA:
        if known.kind == "criterion" and "data" not in known.needs:
            raise IsopruneError(f"{_label(criterion)} looks at no data, so there is none to halve.")
        if batches is None or len(batches) < 2:
            raise IsopruneError("half_data halves what the criterion sees: give batches=, two or more.")
        batches = batches[: len(batches) // 2]
    small = prune(dense, example_inputs, ratio, criterion=criterion, batches=batches, seed=seed, **how)
    drawing = derived_seed(seed, check)
    if check == REINITIALISED:
        return repair(small, REPAIRS["scratch"], seed=drawing)
    if check in WEIGHT_CHECKS:
        return repair(small, WEIGHT_CHECKS[check], seed=drawing)
    if check not in PLAN_CHECKS:
        return small
    made = checked(small, check, drawing, mask=how["mask"])
    # The repair that a criterion brings is no part of its choice: chance gets it too.
    return repair(made, known.repair, batches=batches, task=how["task"], seed=seed) if known.repair else made


def checked(small: Pruned, check: str, seed: int, *, mask: bool = False) -> Pruned:
    """Return the dense network pruned by the plan that a check makes of that of ``small``.

    Raises:
        IsopruneError: For a grain that the check does not know.
    """
    function, grain = PLAN_CHECKS[check], small.plan.grain
    kind = read_grain(grain).name
    if kind not in method_of(function).grains:
        raise IsopruneError(f"{check} does not know the grain {grain}. Leave it out: checks=.")
    units = units_of(small.graph, grain)
    plan: Plan = function(small.plan, units, generator=seeded(seed))
    if kind != "channel":
        return mask_by(small.dense, small.example_inputs, small.graph, plan, units)

    def planner(graph: Any, links: Any) -> Plan:
        drawn = {u.name: plan.kept.get(u.name, torch.ones(u.shape)).double() for u in graph.groups}
        return plan_of_same_numbers(graph, drawn, plan, links=links)

    made = prune_by(small.dense, small.example_inputs, small.graph, planner)
    if not mask:
        return made
    units = units_of(made.graph, grain)
    return replace(
        mask_by(small.dense, small.example_inputs, made.graph, made.plan, units), dense=small.dense
    )


def _trained(
    small: Pruned, data: Any, judge: Any, task: Task, lr: Any, seed: int, training: Any, path: Path | None
) -> tuple[float | None, float]:
    """Return what the network is worth after its training, and the rate; None: it diverged."""
    name, _ = task.judged_by
    saving = None if path is None else Saving(path / "state")
    try:
        done = retrain(small, data, task=task, lr=lr, seed=seed, saving=saving, **training)
        found = evaluate(done, judge, task=task)[name], done.history[-1]["lr"]
    except Diverged:
        if lr == "auto":
            raise
        found = DIVERGED, lr
    if path is not None:  # An interrupted one stays: it goes on from there.
        shutil.rmtree(path, ignore_errors=True)
    return found


class _Numbers:
    """What finished networks are worth, by the digest of all that it depends on."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.known = folder, {}
        if folder is not None:
            try:
                facts = read_json(folder / "sanity.json", remedy="Delete it: its networks are trained again.")
            except FileNotFoundError:
                return
            self.known: dict[str, tuple[float | None, float]] = dict(_read(facts, folder))

    def write(self) -> None:
        if self.folder is not None:
            write_json(self.folder / "sanity.json", {"version": 1, "networks": self.known})

    def saving(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"training-{key}"


def _read(facts: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, tuple[float | None, float]]]:
    rows = facts.get("networks")
    for key, row in rows.items() if isinstance(rows, dict) else [("", None)]:
        value, rate = row if isinstance(row, list) and len(row) == 2 else ("", "")
        if not (value is None or isinstance(value, float | int)) or not isinstance(rate, float | int):
            raise DamagedFile(f"{folder / 'sanity.json'} is damaged: {key!r} has no number. Delete it.")
        yield key, (value, rate)


def _label(criterion: Any) -> str:
    while isinstance(criterion, functools.partial):
        criterion = criterion.func
    return criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "the method")
