"""Whether the steps of a recipe fit together; errors name the key of the file."""

from __future__ import annotations

from collections.abc import Sequence

from isoprune.experiment.choice import Choice
from isoprune.experiment.step_types import (
    AUTO,
    Cluster,
    Prune,
    Repeat,
    Retrain,
    Rewind,
    Step,
    Train,
    TrainingConfig,
)
from isoprune.types.errors import IsopruneError
from isoprune.types.training_options import check_nesterov

Keyed = Sequence[tuple[str, Step]]  # steps with their keys, a repeat before its own


def check(steps: Keyed) -> None:
    """Raise if steps do not fit together.

    Raises:
        IsopruneError: For missing targets or rates, or steps in an order that cannot work.
    """
    _check_targets(steps)
    _check_trainings(steps)
    _check_rewinds(steps)
    _check_clusters(steps)


def _check_targets(steps: Keyed) -> None:
    cadence: Choice | None = None
    left = 0  # steps of the repeat
    for key, step in steps:
        if isinstance(step, Repeat):
            cadence, left = step.cadence, len(step.steps)
            continue
        within = left > 0
        left -= 1
        if not isinstance(step, Prune):
            continue
        given = [
            f"{key}.{name}" for name in ("ratio", "flops", "parameters") if getattr(step, name) is not None
        ]
        if within and cadence is not None:
            given.append(f"{key.rpartition('.')[0]}.cadence")
        if not given:
            more = ", or a cadence of the repeat" if within else ""
            raise IsopruneError(
                f"Missing key '{key}.ratio'. Add it, or {key}.flops or {key}.parameters{more}: nothing is "
                "assumed where a result depends on it."
            )
        if len(given) > 1:
            raise IsopruneError(f"{' and '.join(given)} do not go together. Give one of them.")


def _check_trainings(steps: Keyed) -> None:
    retrains = {key for key, step in steps if isinstance(step, Retrain)}
    for key, training in _trainings(steps).items():
        if training.epochs and training.lr is None:
            raise IsopruneError(
                f"Missing key '{key}.lr': {training.epochs} epochs need a learning rate. Add {key}.lr."
            )
        check_nesterov(training.nesterov, training.optimizer, training.momentum, key=key)
        if training.distill is not None and key not in retrains:
            raise IsopruneError(
                f"{key}.distill: there is no network yet to learn from. Write it under [retrain], or leave "
                "it out."
            )
        before_pruning = key.endswith(".train")
        if training.lr == AUTO and (training.penalty is not None or before_pruning):
            raise IsopruneError(
                f'{key}.lr is "{AUTO}", but short trainings tell nothing of one whose penalty grows. Give a '
                "number."
            )
        if before_pruning and not training.epochs:
            raise IsopruneError(f"{key}.epochs is 0: nothing is trained. Raise it, or leave [{key}] out.")


def _check_rewinds(steps: Keyed) -> None:
    dense: TrainingConfig | None = None
    pruned = False
    for key, step in steps:
        if isinstance(step, Train):
            if pruned:
                raise IsopruneError(f'{key} trains anew what was pruned. Write kind = "retrain".')
            dense = step
        pruned = pruned or isinstance(step, Prune)
        if dense is None:
            raise IsopruneError(
                f'{key} has no network to begin with. Write a step of kind "train" before it.'
            )
        if isinstance(step, Rewind) and step.epoch > dense.epochs:
            name = key if key == "rewind" else f"{key}.epoch"
            raise IsopruneError(
                f"{name} is {step.epoch}, but the dense network is trained for {dense.epochs} epochs. "
                f"Give an epoch from 0 to {dense.epochs}."
            )


def _check_clusters(steps: Keyed) -> None:
    shares = False
    for key, step in steps:
        if shares and not isinstance(step, Retrain):
            raise IsopruneError(
                f'{key} changes weights that are shared since a step of kind "cluster". Only retrainings can '
                "follow it: write it before."
            )
        shares = shares or isinstance(step, Cluster)


def _trainings(steps: Keyed) -> dict[str, TrainingConfig]:
    """Return the trainings of an experiment, in their order, by the keys of a config."""
    found = {}
    for key, step in steps:
        if isinstance(step, TrainingConfig):
            found[key] = step
        if isinstance(step, Prune) and step.train is not None:
            found[f"{key}.train"] = step.train
    return found
