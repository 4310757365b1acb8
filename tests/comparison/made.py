"""Configs and records to compare: a real config, and records with the numbers that a comparison looks at."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from isoprune.experiment.config import experiment
from isoprune.experiment.grid import put
from isoprune.training import multiply_adds, samples_seen

TABLE: dict[str, Any] = {
    "data": {"name": "digits", "limit": 1000, "size": 8},
    "model": {"name": "mlp_7", "width": 100, "activation": "relu"},
    "dense": {
        "epochs": 20,
        "lr": 0.1,
        "schedule": {"name": "step_decay", "milestones": [10, 15], "gamma": 0.1},
    },
    "prune": {"ratio": 0.5},
    "repair": {"name": "none"},
    "retrain": {
        "epochs": 10,
        "lr": 0.01,
        "schedule": {"name": "step_decay", "milestones": [5], "gamma": 0.1},
    },
}
TRAIN = 950  # samples
FLOPS = (4000, 1000)  # dense, pruned


def changed(table: dict[str, Any] | None = None, /, **changes: Any) -> dict[str, Any]:
    """Return a resolved-like config; ``retrain__lr=0.1`` changes the key retrain.lr."""
    made = copy.deepcopy(table or TABLE)
    for key, value in changes.items():
        put(made, key.replace("__", "."), value)
    return experiment(made).as_dict()


def record(
    accuracy: float = 0.8, *, flops: tuple[int, int] = FLOPS, train: int = TRAIN, **changes: Any
) -> dict[str, Any]:
    """Return a finished record of `changed`, in which every seed has its own dense network."""
    config = changed(**changes)
    distill = config["retrain"].get("distill")
    training = {}
    for stage, name, cost in (("dense", "dense", flops[0]), ("retrain", "retrained", flops[1])):
        how = config[stage]
        if how["epochs"]:
            samples = samples_seen(train, batch=how["batch"], epochs=how["epochs"], steps=how["steps"])
            teacher = flops[0] if distill and stage == "retrain" else 0
            estimated = train if how.get("average") else 0
            ops = multiply_adds(samples, flops=cost, teacher=teacher, estimated=estimated)
            training[name] = {"samples": samples, "multiply_adds": ops}
    dense = 0.9 + 0.001 * config["seed"]
    stages = {
        "dense": {
            "validation_accuracy": dense,
            "test_accuracy": dense,
            "flops": flops[0],
            "parameters": flops[0],
        },
        "pruned": {"test_accuracy": 0.1, "flops": flops[1], "parameters": flops[1]},
    }
    if config["retrain"]["epochs"]:
        stages["retrained"] = {
            "validation_accuracy": accuracy,
            "test_accuracy": accuracy,
            "jsv": {"mean": 1.0},
        }
    return {
        "version": 1,
        "digest": hashlib.sha256(repr(config).encode()).hexdigest()[:16],
        "status": "done",
        "config": config,
        "stages": stages,
        "training": training,
    }
