"""Whole residual blocks go, of a second: a config, and the process that is killed in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from experiment.rounds import dying
from experiment.tiny import CONFIG
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store

TRAINING: dict[str, Any] = {"epochs": 2, "lr": 0.05, "batch": 50, "jsv_samples": 0, "checkpoint_steps": 1}
SHORT: dict[str, Any] = {
    "data": CONFIG["data"],
    "model": {"name": "resnet_small", "stem": 4, "blocks": 4},
    "dense": TRAINING,
    "prune": {"ratio": 0.5, "grain": "residual_block"},
    "retrain": {**TRAINING, "epochs": 1},
    "measure": CONFIG["measure"],
}


def rounds() -> Experiment:
    """Return two rounds that remove half of the blocks in all, each from the weights of epoch 1."""
    steps = [
        {"kind": "prune", "grain": "residual_block"},
        {"kind": "rewind", "epoch": 1},
        {"kind": "retrain", **TRAINING, "epochs": 1},
    ]
    cadence = {"name": "by_cycle", "ratio": 0.6}
    repeat = {"kind": "repeat", "rounds": 2, "cadence": cadence, "steps": steps}
    common = {key: SHORT[key] for key in ("data", "model")}
    return experiment(
        {
            **common,
            "measure": {**CONFIG["measure"], "barrier": 3},
            "steps": [{"kind": "train", **TRAINING}, repeat],
        }
    )


def main(root: str, lives: int) -> None:
    """Run the rounds; killed at the ``lives``-th time that something goes to the disk, 0: never."""
    with dying(lives) as flushed:
        torch.set_num_threads(1)
        run(rounds(), Store(Path(root)))
    print(flushed())  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
