"""Experiments of a second that rewind."""

from __future__ import annotations

from typing import Any

from experiment.tiny import tiny

DENSE = {"epochs": 4, "lr": 0.05, "batch": 50, "jsv_samples": 0}
REPLAY = {"epochs": 2, "lr": 0.05, "batch": 50, "jsv_samples": 0, "schedule": "lr_rewinding"}


def rewinding(epoch: int | None = 2, **changes: Any) -> Any:
    settings = {"dense": DENSE, "retrain": REPLAY, "repair": "none", **changes}
    return tiny(**settings, **({} if epoch is None else {"rewind": epoch}))
