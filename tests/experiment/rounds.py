"""Iterative magnitude pruning with rewinding, of a second, and the process that is killed in it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from experiment.tiny import CONFIG
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store

TRAINING: dict[str, Any] = {"epochs": 3, "lr": 0.05, "batch": 50, "jsv_samples": 0, "checkpoint_steps": 1}


def ticket(rounds: int, *, grain: str = "weight", ratio: float = 0.8, **prune: Any) -> Experiment:
    """Return rounds that remove ``ratio`` in all, each from the weights of epoch 1."""
    steps = [
        {"kind": "prune", "grain": grain, **prune},
        {"kind": "rewind", "epoch": 1},
        {"kind": "retrain", **TRAINING, "epochs": 2},
    ]
    cadence = {"name": "by_cycle", "ratio": ratio}
    repeat = {"kind": "repeat", "rounds": rounds, "cadence": cadence, "steps": steps}
    common = {key: CONFIG[key] for key in ("data", "model", "measure")}
    return experiment({**common, "steps": [{"kind": "train", **TRAINING}, repeat]})


@contextmanager
def dying(lives: int) -> Iterator[Callable[[], int]]:
    """Kill this process at the ``lives``-th time that something goes to the disk, 0: never; give the count.

    Every file is flushed before it gets its name and its directory after, so death comes on either side.
    """
    flushed = 0
    sync = os.fsync

    def counted(handle: int) -> None:
        nonlocal flushed
        flushed += 1
        if flushed == lives:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = counted
    yield lambda: flushed
    os.fsync = sync


def main(root: str, lives: int) -> None:
    """Run five rounds; killed at the ``lives``-th time that something goes to the disk, 0: never."""
    with dying(lives) as flushed:
        torch.set_num_threads(1)
        run(ticket(5), Store(Path(root)))
    print(flushed())  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
