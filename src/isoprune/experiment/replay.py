"""The schedule `lr_rewinding` in an experiment: it replays the experiment's own dense training."""

from __future__ import annotations

from typing import Any

from isoprune.experiment.config import Choice, choice
from isoprune.experiment.step_types import TrainingConfig
from isoprune.types.errors import IsopruneError

REPLAY = "lr_rewinding"
GIVEN = {"dense_epochs", "milestones", "schedule"}


def replayed(retrain: TrainingConfig, key: str, *, dense: TrainingConfig, rewind: int | None) -> Choice:
    """Return the schedule of a retraining, with what to replay where it does not say so itself.

    Args:
        retrain: At ``key`` of the config.
        dense: The training that is replayed.
        rewind: The epoch to which weights were rewound before; None: they were not.

    Raises:
        IsopruneError: If the dense training cannot be replayed, or not from the epoch that is rewound to.
    """
    schedule, left = retrain.schedule, dense.epochs - (rewind or 0)
    unsaid = schedule.name == REPLAY and not GIVEN & schedule.options.keys()
    if unsaid and rewind is not None and retrain.epochs != left:
        raise IsopruneError(
            f"Rewound to epoch {rewind} of {dense.epochs}, there are {left} epochs to replay, and "
            f"{key}.epochs is {retrain.epochs}. Set {key}.epochs = {left}, or another {key}.schedule."
        )
    return _filled(schedule, key, dense)


def _filled(schedule: Choice, key: str, dense: TrainingConfig) -> Choice:
    inner: Any = schedule.options.get("schedule")
    if inner is not None:
        inside = _filled(choice(inner, f"{key}.schedule.schedule"), key, dense)
        return Choice(schedule.name, {**schedule.options, "schedule": inside.as_dict()})
    if schedule.name != REPLAY or GIVEN & schedule.options.keys():
        return schedule
    if not dense.epochs or dense.steps is not None:
        why = "has no epochs" if not dense.epochs else "is cut off by dense.steps"
        raise IsopruneError(
            f"{key}.schedule = {REPLAY!r} replays the dense training, which {why}. Say what to replay: "
            f'{{name = "{REPLAY}", dense_epochs = 90, milestones = [30, 60]}}.'
        )
    replay = {"dense_epochs": dense.epochs, "schedule": dense.schedule.as_dict()}
    return Choice(schedule.name, {**schedule.options, **replay})
