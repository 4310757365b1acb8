"""Synthetic records in the contract's form, with numbers like those of the paper's main job."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from msgspec.structs import replace

from isoprune.types.record import ROLES, Histogram, NetworkRecord, Record, Removal, UnitsRemoved

EDGES = np.linspace(-8.0, 2.0, 41)
FINAL = {  # retrained test accuracy by (activation, repair, lr)
    ("linear", "none", 1e-2): 0.821,
    ("linear", "none", 1e-3): 0.787,
    ("linear", "orthp", 1e-2): 0.846,
    ("linear", "orthp", 1e-3): 0.845,
    ("linear", "scratch", 1e-2): 0.842,
    ("linear", "scratch", 1e-3): 0.822,
    ("relu", "none", 1e-2): 0.874,
    ("relu", "none", 1e-3): 0.866,
    ("relu", "orthp", 1e-2): 0.839,
    ("relu", "orthp", 1e-3): 0.852,
    ("relu", "scratch", 1e-2): 0.868,
    ("relu", "scratch", 1e-3): 0.831,
}
DENSE = {"linear": (0.846, 2.5), "relu": (0.890, 1.2)}
PRUNED_JSV = {"linear": 0.005, "relu": 0.037}
REPAIRED_JSV = {"linear": 1.0, "relu": 0.46, "scratch": 0.0021}


# What experiment writes of the methods' marks.
LABELS = {"l1_norm": "L1", "l2_norm": "L2", "orthp": "OrthP", "none": "no repair"}
SECONDS = {"dense": 20.1, "pruned": 0.1, "repaired": 0.01, "retrained": 18.0}


def _sigma(mean: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    return mean * np.exp(spread * rng.standard_normal(640) - spread**2 / 2)


def network(
    role: str, accuracy: float, mean_jsv: float, spread: float, rng: np.random.Generator, *, small: bool
) -> NetworkRecord:
    """One network of a record; ``spread`` is the std of log sigma (0: an exact isometry)."""
    sigma = _sigma(mean_jsv, spread, rng)
    logs = np.clip(np.log10(np.maximum(sigma, 1e-30)), EDGES[0], EDGES[-1])
    return NetworkRecord(
        role=role,
        step=ROLES.index(role),
        digest=role,
        parameters=13_010 if small else 153_910,
        nonzero=13_010 if small else 153_910,
        flops=12_900 if small else 152_400,
        metrics={"validation_accuracy": accuracy + 0.004, "test_accuracy": accuracy},
        jsv={
            "mean": float(sigma.mean()),
            "std": float(sigma.std()),
            "min": float(sigma.min()),
            "max": float(sigma.max()),
            "condition": float(sigma.max() / sigma.min()),
            "log_spread": float(np.std(np.log(sigma))),
            "below_1e3": float((sigma < 1e-3).mean()),
            "distance": float(((sigma - 1) ** 2).mean()),
        },
        jsv_histogram=Histogram(edges=EDGES.tolist(), counts=[int(c) for c in np.histogram(logs, EDGES)[0]]),
        seconds=SECONDS[role],
    )


def history(final: float, start: float, jsv: float, lr: float, epochs: int, rng: np.random.Generator) -> list:
    """A retraining history that rises to ``final``, the faster the larger the learning rate."""
    rows = []
    speed = 2.5 if lr >= 1e-2 else 7.0
    for epoch in range(epochs + 1):
        rise = 1 - math.exp(-epoch / speed)
        accuracy = start + (final - start) * rise + (0.003 * rng.standard_normal() if epoch else 0.0)
        row: dict[str, Any] = {
            "epoch": epoch,
            "lr": lr * 0.1 ** (epoch > 10) * 0.1 ** (epoch > 20),
            "validation_accuracy": accuracy,
            "validation_loss": 2.3 * (1 - accuracy),
            "jsv_mean": jsv * math.exp((math.log(2.4 / jsv)) * rise * (1.0 if lr >= 1e-2 else 0.6)),
        }
        if epoch:
            row |= {"loss": 2.4 * (1 - accuracy), "train_accuracy": accuracy + 0.01, "seconds": 0.6}
        rows.append(row)
    return rows


def record(
    *,
    seed: int = 0,
    model: str = "mlp_7",
    activation: str = "linear",
    repair: str = "none",
    lr: float = 1e-2,
    ratio: float = 0.8,
    epochs: int = 30,
    criterion: str = "l1_norm",
    data: str = "fashion_mnist",
) -> Record:
    """One record; ``epochs=0`` is a measurement without retraining."""
    rng = np.random.default_rng(
        [seed, int(lr * 1e5), int(ratio * 100), len(repair), len(activation), len(model)]
    )
    dense_accuracy, dense_jsv = DENSE[activation]
    dense_accuracy += 0.001 * seed
    dense_jsv *= 1.6 if model == "lenet_5" else 1.0
    decay = (ratio / 0.8) ** (2 if model == "mlp_7" else 3) if ratio else 0.0
    pruned_jsv = dense_jsv * (PRUNED_JSV[activation] / dense_jsv) ** decay * (1 + 0.05 * seed)
    pruned_accuracy = 0.1 + (dense_accuracy - 0.1) * max(0.0, 1 - 1.2 * ratio) + 0.004 * seed
    repaired = {
        "none": (pruned_accuracy, pruned_jsv, 1.2),
        "orthp": (pruned_accuracy + 0.12, REPAIRED_JSV[activation], 0.0 if activation == "linear" else 0.5),
        "scratch": (0.1, REPAIRED_JSV["scratch"], 1.0),
    }.get(repair, (pruned_accuracy, pruned_jsv * 3, 0.9))
    shared = np.random.default_rng([seed, int(ratio * 100), 1])
    small = ratio > 0
    networks = [
        network("dense", dense_accuracy, dense_jsv, 0.6, np.random.default_rng(seed), small=False),
        network("pruned", pruned_accuracy, pruned_jsv, 1.2, shared, small=small),
        network("repaired", *repaired, np.random.default_rng([seed, 7]), small=small),
    ]
    rows: list = []
    if epochs:
        final = FINAL.get((activation, repair, lr), 0.8) + 0.0012 * rng.standard_normal() + 0.001 * seed
        rows = history(final, repaired[0], repaired[1], lr, epochs, rng)
        networks.append(replace(network("retrained", final, 2.2, 0.5, rng, small=small), history=rows))
    training = {
        "epochs": 30,
        "lr": 0.01,
        "schedule": {"name": "step_decay", "milestones": [10, 20], "gamma": 0.1},
        "batch": 100,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    }
    options = {"gain": 1.0 if activation == "linear" else 2**0.5} if repair == "orthp" else {}
    removed = math.ceil(100 * ratio)
    of = (seed, model, activation, repair, lr, ratio, epochs, criterion, data)
    return Record(
        digest=hashlib.sha256(repr(of).encode()).hexdigest()[:16],
        name="synthetic",
        config={
            "seed": seed,
            "data": {"name": data, "validation": 6000},
            "model": {"name": model, "activation": activation, "width": 100, "depth": 7},
            "dense": dict(training),
            "prune": {"criterion": {"name": criterion}, "ratio": ratio},
            "repair": {"name": repair, **options},
            "retrain": {**training, "epochs": epochs, "lr": lr},
            "measure": {"samples": 64, "bins": 40},
        },
        labels=dict(LABELS),
        environment={
            "python": "3.11.7",
            "torch": "2.15.0",
            "isoprune": "0.1.0",
            "platform": "Linux x86_64",
            "threads": 1,
        },
        networks=networks,
        removals=[
            Removal(
                step=1,
                request={"ratio": ratio},
                ratios={
                    "units": removed / 100,
                    "filters": removed / 100,
                    "parameters": 0.916 if small else 0.0,
                    "flops": 0.915 if small else 0.0,
                },
                units=[UnitsRemoved(f"net.{2 * i}", 100, removed) for i in range(6)],
                proof={"max_abs_error": 1.2e-7},
            )
        ],
        trainability_accuracy=float(np.mean([r["validation_accuracy"] for r in rows[1:11]]))
        if rows
        else None,
        seconds={"measure": 0.4},
    )


def without(record: Record, *roles: str) -> Record:
    """Return the record without the networks of these roles."""
    return replace(record, networks=[n for n in record.networks if n.role not in roles])


def lr_effect(seeds: int = 3, repairs: tuple[str, ...] = ("none", "orthp", "scratch")) -> list[Record]:
    """mlp_7 linear and relu, three repairs, two learning rates: the main job."""
    return [
        record(seed=seed, activation=activation, repair=repair, lr=lr)
        for activation in ("linear", "relu")
        for repair in repairs
        for lr in (1e-2, 1e-3)
        for seed in range(seeds)
    ]


def jsv_vs_ratio(seeds: int = 3) -> list[Record]:
    """Two networks, each linear and relu, six ratios, not retrained: the paper's figure."""
    return [
        record(seed=seed, model=model, activation=activation, repair=repair, ratio=ratio, epochs=0)
        for model in ("mlp_7", "lenet_5")
        for activation in ("linear", "relu")
        for repair in ("none", "orthp")
        for ratio in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
        for seed in range(seeds)
    ]
