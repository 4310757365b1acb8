"""A reproduction of two claims, and records as a study would write them, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoprune.reproduction.claims import Cells, Flat, Place, Published, Reproduction
from isoprune.types.record import NetworkRecord, Record


def place(flat: Flat) -> Place:
    return Place(str(flat["model.name"]), str(flat["repair.name"]), f"{flat['prune.ratio']:g}")


def record(
    accuracy: float,
    *,
    repair: str = "none",
    ratio: float = 0.9,
    seed: int = 0,
    model: str = "net",
    lr: float = 0.1,
) -> Record:
    config = {
        "data": {"name": "digits"},
        "model": {"name": model},
        "dense": {"epochs": 2, "lr": 0.1, "batch": 10},
        "prune": {"ratio": ratio, "criterion": {"name": "l1_norm"}},
        "repair": {"name": repair},
        "retrain": {"epochs": 2, "lr": lr, "batch": 10},
        "seed": seed,
    }
    digest = f"{model}-{repair}-{ratio}-{seed}-{lr}"
    return Record(digest=digest, name="made", config=config, networks=[network("retrained", accuracy)])


def network(role: str, number: float) -> NetworkRecord:
    """Return a network whose accuracy and mean JSV are one number."""
    sizes = dict.fromkeys(("parameters", "nonzero", "flops"), 1)
    metrics, jsv = {"test_accuracy": number}, {"mean": number}
    return NetworkRecord(role=role, step=0, digest=role, metrics=metrics, jsv=jsv, **sizes)


def records(accuracies: Mapping[str, Sequence[float]], **more: Any) -> list[Record]:
    """Return a record for every repair and seed."""
    return [record(a, repair=r, seed=i, **more) for r, own in accuracies.items() for i, a in enumerate(own)]


def reproduction(*claims: Any, published: Published | None = None) -> Reproduction:
    tables = {} if published is None else {"net": published}
    return Reproduction("made", "Made", "Does it judge?", claims, place, tables)


def cells(accuracies: Mapping[str, Sequence[float]], **more: Any) -> Cells:
    return reproduction().cells(records(accuracies, **more))
