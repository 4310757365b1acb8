"""A training epoch of `fit` beside a bare PyTorch loop: python benchmarks/epoch.py

Same network (mlp_7), same 54,000 images of 32 x 32 in memory, one thread, one process, taken in turns
(A B A B), so that a noisy machine is noisy for both. `fit` also validates on 6,000 images, keeps the history
and, in the last row, writes a checkpoint; the bare loop does none of it. Median of seven turns.
"""

from __future__ import annotations

import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

import torch
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from isoprune.methods.schedules import constant
from isoprune.models import mlp_7
from isoprune.training import Saving, Training, Watch, fit
from isoprune.types import Splits
from isoprune.types.samples import Split

TRAIN, VALIDATION, BATCH, TURNS = 54_000, 6_000, 100, 7
LIMIT = 1.1
clock = time.process_time  # others on the machine change it less than the wall's


def bare_epoch(model: nn.Module, split: Split) -> None:
    """Train as one writes it by hand, with nothing around it."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    order = torch.randperm(len(split))
    for start in range(0, len(split), BATCH):
        batch = order[start : start + BATCH]
        loss = cross_entropy(model(split.inputs[batch]), split.targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def fit_epoch(model: nn.Module, splits: Splits, checkpoint: Path | None) -> float:
    """Return the seconds from the end of epoch 0 to the end of epoch 1, everything in between included."""
    ends: list[float] = []
    fit(
        model,
        splits,
        Training(1, 0.01, constant(), batch=BATCH),
        generator=Generator().manual_seed(0),
        watch=Watch(on_epoch=lambda _: ends.append(clock())),
        saving=None if checkpoint is None else Saving(checkpoint),
    )
    return ends[1] - ends[0]


def main() -> None:
    torch.set_num_threads(1)
    generator = Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(
            torch.randn(n, 1, 32, 32, generator=generator), torch.randint(10, (n,), generator=generator)
        )

    splits = Splits(split(TRAIN), split(VALIDATION), split(BATCH), classes=10)
    model = mlp_7((1, 32, 32), 10, generator=generator)
    seconds: dict[str, list[float]] = {"bare loop": [], "fit": [], "fit with checkpoint": []}
    with tempfile.TemporaryDirectory() as directory:
        names = (Path(directory) / str(n) for n in count())
        for turn in range(TURNS + 1):
            began = clock()
            bare_epoch(model, splits.train)
            taken = [clock() - began]
            taken += [fit_epoch(model, splits, None), fit_epoch(model, splits, next(names))]
            if turn:  # The first turn warms up.
                for times, t in zip(seconds.values(), taken, strict=True):
                    times.append(t)
    print(
        f"mlp_7 linear, {TRAIN:,} images, batch {BATCH}, 1 thread, torch {torch.__version__}, {TURNS} turns"
    )
    print(f"{'':22}{'median s':>10}{'min s':>9}{'max s':>9}{'ratio':>8}")
    for name, times in seconds.items():
        ratio = median(t / b for t, b in zip(times, seconds["bare loop"], strict=True))
        verdict = "" if name == "bare loop" else f"   {'within' if ratio <= LIMIT else 'OVER'} {LIMIT}"
        print(f"{name:22}{median(times):10.3f}{min(times):9.3f}{max(times):9.3f}{ratio:8.3f}{verdict}")


if __name__ == "__main__":
    main()
