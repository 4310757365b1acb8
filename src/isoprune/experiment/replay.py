"""The schedule `lr_rewinding` in an experiment: what it replays is the experiment's own dense training."""

from __future__ import annotations

from typing import Any

from isoprune.experiment.config import Choice, Experiment, choice
from isoprune.types.errors import IsopruneError

REPLAY = "lr_rewinding"
GIVEN = {"dense_epochs", "milestones", "schedule"}


def replayed(experiment: Experiment) -> Choice:
    """Return the schedule of retraining, told what to replay where it does not say so itself.

    Raises:
        IsopruneError: If the dense training cannot be replayed, or not from the epoch that is rewound to.
    """
    schedule, left = experiment.retrain.schedule, experiment.dense.epochs - (experiment.rewind or 0)
    asks = schedule.name == REPLAY and not GIVEN & schedule.options.keys()
    if asks and experiment.rewind is not None and experiment.retrain.epochs != left:
        raise IsopruneError(
            f"Rewound to epoch {experiment.rewind} of {experiment.dense.epochs}, there are {left} epochs to "
            f"replay, and retrain.epochs is {experiment.retrain.epochs}. Set retrain.epochs = {left}, or "
            "another retrain.schedule."
        )
    return _told(schedule, experiment)


def _told(schedule: Choice, experiment: Experiment) -> Choice:
    inner: Any = schedule.options.get("schedule")
    if inner is not None:
        inside = _told(choice(inner, "retrain.schedule.schedule"), experiment)
        return Choice(schedule.name, {**schedule.options, "schedule": inside.as_dict()})
    dense = experiment.dense
    if schedule.name != REPLAY or GIVEN & schedule.options.keys():
        return schedule
    if not dense.epochs or dense.steps is not None:
        why = "has no epochs" if not dense.epochs else "is cut off by dense.steps"
        raise IsopruneError(
            f"retrain.schedule = {REPLAY!r} replays the dense training, which {why}. Say what to replay: "
            f'{{name = "{REPLAY}", dense_epochs = 90, milestones = [30, 60]}}.'
        )
    told = {"dense_epochs": dense.epochs, "schedule": dense.schedule.as_dict()}
    return Choice(schedule.name, {**schedule.options, **told})
