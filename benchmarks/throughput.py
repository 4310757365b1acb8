"""Images per second of our loop, of one by hand and of the usual one: python benchmarks/throughput.py

Data of Fashion-MNIST's shape (28 x 28 bytes, padded to 32 x 32 and normalised), one thread, one process, the
three in turns so that a noisy machine is noisy for all; medians over turns. By hand: tensors in memory, indexed
batch by batch, nothing else. The usual: a Dataset of PIL images with torchvision's transforms behind a
DataLoader without workers. Ours also validates, keeps the history and seeds every step.

Limits: ours takes at most 1.1 times the time of the one by hand, and at most a third of the usual one's. The
second can be met only where reading the data takes two thirds of the usual loop's time and more, so the time
of its data alone is shown beside it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from isoprune.models import lenet_5, mlp_7, resnet_small
from isoprune.samples import Split
from isoprune.schedules import constant
from isoprune.training import fit
from isoprune.types import Splits

BATCH, MEAN, STD = 100, 0.2860, 0.3530
HAND, USUAL = 1.1, 3.0


class Pictures(Dataset):
    """Bytes in memory, made into PIL images and transformed one by one, as torchvision's data sets are."""

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self.images, self.targets = images.numpy(), targets.tolist()
        steps = [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.targets[i]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


def by_hand(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    model.train()
    optimizer, began = optimizer_of(model), time.perf_counter()
    order = torch.randperm(len(targets))
    for start in range(0, len(targets), BATCH):
        batch = order[start : start + BATCH]
        loss = cross_entropy(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def usual(model: nn.Module | None, pictures: Pictures) -> float:
    """Return the seconds of an epoch; without a network, those of reading the data alone."""
    loader = DataLoader(pictures, batch_size=BATCH, shuffle=True)
    if model is None:
        began = time.perf_counter()
        for _ in loader:
            pass
        return time.perf_counter() - began
    model.train()
    optimizer, began = optimizer_of(model), time.perf_counter()
    for inputs, targets in loader:
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def ours(model: nn.Module, splits: Splits) -> float:
    """Return the seconds from the end of epoch 0 to the end of epoch 1: training, validation, history."""
    ends: list[float] = []
    fit(
        model,
        splits,
        epochs=1,
        lr=0.01,
        schedule=constant(),
        batch=BATCH,
        generator=Generator().manual_seed(0),
        on_epoch=lambda _: ends.append(time.perf_counter()),
    )
    return ends[1] - ends[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6_000, help="of an epoch (default: 6000)")
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    g = Generator().manual_seed(0)
    raw = torch.randint(256, (args.images, 28, 28), generator=g, dtype=torch.uint8)
    targets = torch.randint(10, (args.images,), generator=g)
    pictures = Pictures(raw, targets)
    inputs = pad(raw.float().div(255), [2] * 4).sub(MEAN).div(STD).unsqueeze(1)
    # One batch, so that the time is that of training.
    held = Split(inputs[:BATCH], targets[:BATCH])
    splits = Splits(Split(inputs, targets), held, held, classes=10)
    # What is compared must be the same data.
    np.testing.assert_allclose(
        pictures[0][0].numpy()[:, 2:-2, 2:-2], inputs[0, :, 2:-2, 2:-2].numpy(), atol=1e-5
    )
    print(f"{args.images:,} images an epoch, batch {BATCH}, 1 thread, torch {torch.__version__}")
    print(f"{args.turns} turns, load {os.getloadavg()[0]:.1f}")
    columns = ("ours", "by hand", "usual", "usual, data alone")
    print(
        f"{'images/s':14}"
        + "".join(f"{name:>19}" for name in columns)
        + f"{'time / by hand':>17}{'usual / ours':>15}"
    )
    for make in (mlp_7, lenet_5, resnet_small):
        model = make((1, 32, 32), 10, generator=Generator().manual_seed(1))
        ways: dict[str, Callable[[], float]] = {
            "ours": lambda model=model: ours(model, splits),
            "by hand": lambda model=model: by_hand(model, inputs, targets),
            "usual": lambda model=model: usual(model, pictures),
            "usual, data alone": lambda: usual(None, pictures),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(args.turns + 1):
            for name, way in ways.items():
                taken = way()
                if turn:  # The first turn warms up.
                    seconds[name].append(taken)
        rows = list(zip(*seconds.values(), strict=True))
        hand, faster = median(a / b for a, b, _, _ in rows), median(c / a for a, _, c, _ in rows)
        rates = "".join(f"{args.images / median(seconds[name]):19,.0f}" for name in columns)
        verdicts = f"{hand:9.3f} {'ok' if hand <= HAND else 'OVER':>6}"
        verdicts += f"{faster:9.2f} {'ok' if faster >= USUAL else 'UNDER':>6}"
        print(f"{make.__name__:14}{rates} {verdicts}")
    print(f"load {os.getloadavg()[0]:.1f}; limits {HAND} and {USUAL}")


if __name__ == "__main__":
    main()
