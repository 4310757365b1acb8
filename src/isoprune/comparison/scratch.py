"""The control from scratch: the pruned shape with new weights, trained on the pruned network's budget.

Sources: Liu, Sun, Zhou, Huang & Darrell, Rethinking the value of network pruning, ICLR 2019 (Scratch-E and
Scratch-B); Wang et al., 2023, arXiv 2301.05219 (with retraining counted: K1 F1 / F2 + K2 epochs).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from isoprune.comparison.records import flatten
from isoprune.comparison.runs import Run
from isoprune.types.errors import IsopruneError
from isoprune.types.record import Record
from isoprune.types.training_cost import samples_seen

Table = dict[str, Any]
# Options of schedules that are a number of epochs as an integer and a part of the run as a float.
LENGTHS = {
    "step_decay": ("milestones",),
    "sgdr": ("T_0",),
    "cyclical": ("step_size",),
    "warm_up": ("rise",),
    "slr": ("rise", "milestones"),
}


def scratch_e(config: Mapping[str, Any], *, train: int | None = None) -> Table:
    """Return the experiment that trains the pruned shape from scratch for as many epochs: K1 + K2, SX-A.

    The recipe is the dense training's, its schedule stretched over the longer run. The weights are drawn by
    the repair ``scratch``; the dense training stays in the file, since the shape comes from it.

    Args:
        config: Of the pruned run, complete, as `Experiment.as_dict` or a record has it.
        train: Samples that make an epoch, as `train_samples` reads them from a record. Not needed where
            whole epochs come out.

    Raises:
        IsopruneError: If the dense network was trained elsewhere, ``train`` is needed and not given, or
            the run is from scratch already.
    """
    lengths = _lengths(config, train)
    return _control(config, lengths["dense"] + lengths["retrain"], train)


def scratch_b(
    config: Mapping[str, Any], flops_dense: int, flops_pruned: int, *, train: int | None = None
) -> Table:
    """Return the experiment that trains the pruned shape from scratch for as many multiply-adds (SX-B).

    These are K1 F1 / F2 + K2 epochs, and what a teacher and averaging took besides; to the step, by
    ``retrain.steps``, where that is no whole number. See `scratch_e`.

    Args:
        config: Of the pruned run.
        flops_dense: F1, multiply-adds of one forward pass of one sample (``record.network("dense").flops``).
        flops_pruned: F2, likewise (``network("pruned").flops``).
        train: Samples that make an epoch.

    Raises:
        IsopruneError: As `scratch_e`, or if the numbers are not those of a network and a smaller one.
    """
    if not 0 < flops_pruned <= flops_dense:
        raise IsopruneError(
            f"flops_dense is {flops_dense} and flops_pruned {flops_pruned}. Give the multiply-adds of a "
            "sample, dense.flops and pruned.flops of a record: the pruned network has no more of them."
        )
    lengths = _lengths(config, train)
    large, small = Fraction(flops_dense), Fraction(flops_pruned)
    averaged = {stage: 1 if config[stage].get("average") else 0 for stage in ("dense", "retrain")}
    teacher = large if config["retrain"].get("distill") else Fraction(0)
    # A step is a forward pass and a backward pass of twice that; averaging takes one epoch of forward passes.
    total = lengths["dense"] * 3 * large + averaged["dense"] * large
    total += lengths["retrain"] * (3 * small + teacher) + averaged["retrain"] * small
    total -= averaged["dense"] * small  # The control averages as the dense training did.
    return _control(config, total / (3 * small), train)


def train_samples(record: Record) -> int:
    """Return how many samples make an epoch, from what a record's trainings took.

    Raises:
        IsopruneError: If it does not say: no training of whole epochs, or one with probes for its rate.
    """
    for stage, role in (("dense", "dense"), ("retrain", "retrained")):
        how, network = record.config[stage], record.network(role)
        whole = how["epochs"] and how.get("steps") is None and how.get("lr") != "auto"
        if whole and network is not None and network.training is not None:
            return network.training.samples // how["epochs"]
    raise IsopruneError(
        "The record does not say how many samples make an epoch: neither training had whole epochs at a "
        "given rate. Give train, the size of the training split."
    )


def _lengths(config: Mapping[str, Any], train: int | None) -> dict[str, Fraction]:
    """Return the epochs, perhaps not whole, of both trainings.

    What cannot be the budget of a control is refused.
    """
    if Run(flatten(config)).scratch:
        raise IsopruneError(
            "This run is from scratch already, so it has no control. Give the config of a pruned one."
        )
    if not config["dense"]["epochs"]:
        raise IsopruneError(
            "dense.epochs is 0: how long the dense network was trained, and by which recipe, is not in the "
            "config. Train it in the experiment, or write retrain.epochs of the control by hand."
        )
    if config["dense"].get("lr") == "auto":
        raise IsopruneError(
            'dense.lr is "auto": what its probes take depends on what they find, so no budget can be kept. '
            "Write the rate that was advised."
        )
    return {stage: _length(config[stage], stage, train) for stage in ("dense", "retrain")}


def _length(how: Mapping[str, Any], stage: str, train: int | None) -> Fraction:
    if not how["epochs"] or how.get("steps") is None:
        return Fraction(how["epochs"])
    if train is None:
        raise IsopruneError(f"{stage}.steps cuts an epoch. Give train, the size of the training split.")
    samples = samples_seen(train, batch=how["batch"], epochs=how["epochs"], steps=how["steps"])
    return Fraction(samples, train)


def _control(config: Mapping[str, Any], length: Fraction, train: int | None) -> Table:
    made: Table = {**copy.deepcopy(dict(config)), "rewind": None}
    dense = made["dense"]
    budget: Table = {"epochs": int(length), "steps": None}
    if length.denominator != 1:
        if train is None:
            raise IsopruneError(
                f"The budget is {float(length):.4g} epochs, which is no whole number. Give train, the size "
                "of the training split, to keep it to the step."
            )
        whole, rest = divmod(length * train, train)
        per_epoch = math.ceil(train / dense["batch"])
        steps = int(whole) * per_epoch + round(rest / dense["batch"])
        epochs = math.ceil(steps / per_epoch)
        budget = {"epochs": epochs, "steps": None if steps == epochs * per_epoch else steps}
    schedule = dense.get("schedule", "constant")
    if length != dense["epochs"]:
        schedule = _stretched(schedule, dense["epochs"])
    return made | {"repair": {"name": "scratch"}, "retrain": dense | budget | {"schedule": schedule}}


def _stretched(schedule: Any, epochs: float | int) -> Any:
    """Return a schedule of ``epochs`` for a run of another length: what it counts in epochs becomes parts."""
    if not isinstance(schedule, Mapping):
        return schedule

    def part(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [part(v) for v in value]
        return value / epochs if isinstance(value, int) and not isinstance(value, bool) else value

    made = {
        key: part(v) if key in LENGTHS.get(str(schedule["name"]), ()) else v for key, v in schedule.items()
    }
    if isinstance(inner := schedule.get("schedule"), Mapping):
        # After a warm-up, the epochs of the schedule within are counted from the end of the rise.
        rest = 1 - made.get("rise", 0) if schedule.get("over", "rest") == "rest" else 1
        made["schedule"] = _stretched(inner, epochs * rest)
    return made
