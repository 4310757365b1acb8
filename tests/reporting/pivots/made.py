"""Records to make tables of: two repairs at two rates and two ratios, three seeds, with known accuracies."""

from __future__ import annotations

from typing import Any

from comparison.made import record
from isoprune.types.record import Record

SEEDS = (0, 1, 2)
# (repair, rate) -> accuracy of seed 1 at ratio 0.5; every seed is 0.01 apart, ratio 0.9 is 0.1 lower.
ACCURACY = {("none", 0.01): 0.8, ("none", 0.001): 0.6, ("orthp", 0.01): 0.7, ("orthp", 0.001): 0.65}


def accuracy(repair: str, lr: float, ratio: float, seed: int) -> float:
    return ACCURACY[repair, lr] + 0.01 * (seed - 1) - (0.1 if ratio == 0.9 else 0.0)


def run(repair: str = "none", lr: float = 0.01, ratio: float = 0.5, seed: int = 0, **more: Any) -> Record:
    return record(
        accuracy(repair, lr, ratio, seed),
        repair=repair,
        retrain__lr=lr,
        prune__ratio=ratio,
        seed=seed,
        **more,
    )


def grid(**more: Any) -> list[Record]:
    """Return all of them, the last first: the order of the files means nothing."""
    runs = [
        run(repair, lr, ratio, seed, **more)
        for repair, lr in ACCURACY
        for ratio in (0.5, 0.9)
        for seed in SEEDS
    ]
    return runs[::-1]
