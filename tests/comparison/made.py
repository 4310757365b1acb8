"""Configs and records to compare: a real config, and records with the numbers that a comparison looks at."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

from msgspec.structs import replace

from isoprune.experiment.config import experiment
from isoprune.experiment.grid import put
from isoprune.types.record import ROLES, NetworkRecord, Record, TrainingCost
from isoprune.types.training_cost import samples_seen, training_work

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
) -> Record:
    """Return a finished record of `changed`, in which every seed has its own dense network."""
    config = changed(**changes)
    dense = 0.9 + 0.001 * config["seed"]
    networks = [
        _network("dense", dense, flops[0], _cost(config, "dense", train, flops)),
        _network("pruned", 0.1, flops[1], None),
    ]
    if config["retrain"]["epochs"]:
        cost = _cost(config, "retrain", train, flops)
        networks.append(_network("retrained", accuracy, flops[1], cost, jsv={"mean": 1.0}))
    digest = hashlib.sha256(repr(config).encode()).hexdigest()[:16]
    return Record(digest=digest, name="made", config=config, networks=networks)


def _network(role: str, accuracy: float, size: int, cost: TrainingCost | None, **more: Any) -> NetworkRecord:
    metrics: dict[str, float | None] = {"validation_accuracy": accuracy, "test_accuracy": accuracy}
    step, sizes = ROLES.index(role), {"parameters": size, "nonzero": size, "flops": size}
    return NetworkRecord(role=role, step=step, digest=role, metrics=metrics, training=cost, **sizes, **more)


def _cost(config: dict[str, Any], stage: str, train: int, flops: tuple[int, int]) -> TrainingCost | None:
    how = config[stage]
    if not how["epochs"]:
        return None
    samples = samples_seen(train, batch=how["batch"], epochs=how["epochs"], steps=how["steps"])
    teacher = flops[0] if how.get("distill") and stage == "retrain" else 0
    estimated = train if how.get("average") else 0
    size = flops[0] if stage == "dense" else flops[1]
    ops = training_work(samples, flops=size, teacher=teacher, estimated=estimated)
    return TrainingCost(samples=samples, multiply_adds=ops)


def network_with(record: Record, role: str, **changes: Any) -> Record:
    """Return the record with one network changed."""
    networks = [replace(n, **changes) if n.role == role else n for n in record.networks]
    return replace(record, networks=networks)


def without(record: Record, role: str) -> Record:
    """Return the record without the networks of a role."""
    return replace(record, networks=[n for n in record.networks if n.role != role])
