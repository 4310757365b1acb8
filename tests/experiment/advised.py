"""What tests of lr = "auto" share: a small experiment, its advice, and a death."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file

from experiment.tiny import tiny
from isoprune.experiment.config import Experiment
from isoprune.experiment.store import Store
from isoprune.types.record import Record

AUTO = {"epochs": 4, "lr": "auto", "batch": 20, "jsv_samples": 0, "schedule": "one_cycle"}
WILD = 1e20  # at which every training diverges


def advice_of(record: Record) -> dict[str, Any]:
    advice = record.network("retrained").advice
    assert advice is not None
    return advice


def chosen(record: Record) -> tuple[float, list[float]]:
    return advice_of(record)["lr"], advice_of(record)["given_up"]


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def auto(**changes: Any) -> Experiment:
    return tiny(**{"retrain": AUTO, "repair": "none", **changes})


def done(record: Record, store: Store, stage: str = "retrained") -> dict[str, torch.Tensor]:
    return load_file(store.folder(record.network(stage).digest) / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
