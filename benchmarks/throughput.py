"""Images per second of our loop, of one by hand and of the usual one: python benchmarks/throughput.py

Data of Fashion-MNIST's shape (28 x 28 bytes, padded to 32 x 32 and normalised), one thread, one process, the
three in turns so that a noisy machine is noisy for all; medians over turns. By hand: tensors in memory,
indexed batch by batch, nothing else. The usual: a Dataset of PIL images with torchvision's transforms behind
a DataLoader without workers. Ours also validates, keeps the history and seeds every step.

Limits: ours takes at most 1.1 times the time of the one by hand, and at most a third of the usual one's. The
second can be met only where reading the data is what takes the time: "usual / by hand" is what a loop with
the same arithmetic and nothing around it reaches; "ours, bf16" has another, and channels last. `--clock cpu`
counts this process's time alone, for a machine that others use.
"""

from __future__ import annotations

import argparse
import functools
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

from isoprune.methods.schedules import constant
from isoprune.models import lenet_5, mlp_7, resnet_small
from isoprune.training import Loop, Training, Watch, fit
from isoprune.types import Splits
from isoprune.types.samples import Split

NETWORKS = {mlp_7: 6_000, lenet_5: 3_000, resnet_small: 400}  # images of an epoch: seconds for each
BATCH, MEAN, STD = 100, 0.2860, 0.3530
FAST = Loop(precision="bf16", channels_last=True)
HAND, USUAL = 1.1, 3.0

clock = time.perf_counter


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
    optimizer, began = optimizer_of(model), clock()
    order = torch.randperm(len(targets))
    for start in range(0, len(targets), BATCH):
        batch = order[start : start + BATCH]
        loss = cross_entropy(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clock() - began


def usual(model: nn.Module | None, pictures: Pictures) -> float:
    """Return the seconds of an epoch; without a network, those of reading the data alone."""
    loader = DataLoader(pictures, batch_size=BATCH, shuffle=True)
    if model is None:
        began = clock()
        for _ in loader:
            pass
        return clock() - began
    model.train()
    optimizer, began = optimizer_of(model), clock()
    for inputs, targets in loader:
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clock() - began


def ours(model: nn.Module, splits: Splits, loop: Loop) -> float:
    """Return the seconds from the end of epoch 0 to the end of epoch 1: training, validation, history."""
    ends: list[float] = []
    fit(
        model,
        splits,
        Training(1, 0.01, constant(), batch=BATCH, loop=loop),
        generator=Generator().manual_seed(0),
        watch=Watch(on_epoch=lambda _: ends.append(clock())),
    )
    return ends[1] - ends[0]


def main() -> None:
    global clock
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    if args.clock == "cpu":
        clock = time.process_time
    torch.set_num_threads(1)
    g = Generator().manual_seed(0)
    most = max(NETWORKS.values())
    raw = torch.randint(256, (most, 28, 28), generator=g, dtype=torch.uint8)
    targets = torch.randint(10, (most,), generator=g)
    inputs = pad(raw.float().div(255), [2] * 4).sub(MEAN).div(STD).unsqueeze(1)
    # What is compared must be the same data.
    np.testing.assert_allclose(Pictures(raw, targets)[0][0].numpy(), inputs[0].numpy(), atol=1e-5)
    print(f"Batch {BATCH}, 1 thread, torch {torch.__version__}")
    print(f"{args.turns} turns, {args.clock} time, load {os.getloadavg()[0]:.1f}")
    columns = ("ours", "ours, bf16", "by hand", "usual", "usual, data alone")
    print(
        f"{'images/s':14}"
        + "".join(f"{name:>19}" for name in columns)
        + f"{'time / by hand':>17}{'usual / ours':>15}"
    )
    for make, images in NETWORKS.items():
        here, labels = inputs[:images], targets[:images]
        pictures = Pictures(raw[:images], labels)
        # Few, so that the time is that of training.
        held = Split(here[: images // 50], labels[: images // 50])
        splits = Splits(Split(here, labels), held, held, classes=10)
        model = make((1, 32, 32), 10, generator=Generator().manual_seed(1))
        ways: dict[str, Callable[[], float]] = {
            "ours": functools.partial(ours, model, splits, Loop()),
            "ours, bf16": functools.partial(ours, model, splits, FAST),
            "by hand": functools.partial(by_hand, model, here, labels),
            "usual": functools.partial(usual, model, pictures),
            "usual, data alone": functools.partial(usual, None, pictures),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(args.turns + 1):
            for name, way in ways.items():
                taken = way()
                if turn:  # The first turn warms up.
                    seconds[name].append(taken)
        rows = list(zip(*seconds.values(), strict=True))
        hand, faster = median(a / b for a, _, b, _, _ in rows), median(c / a for a, _, _, c, _ in rows)
        rates = "".join(f"{images / median(seconds[name]):19,.0f}" for name in columns)
        verdicts = f"{hand:9.3f} {'ok' if hand <= HAND else 'OVER':>6}"
        verdicts += f"{faster:9.2f} {'ok' if faster >= USUAL else 'UNDER':>6}"
        bare = median(c / b for _, _, b, c, _ in rows)
        print(f"{make.__name__:14}{rates} {verdicts}{bare:18.2f}")
    print(f"load {os.getloadavg()[0]:.1f}; limits {HAND} and {USUAL}")


if __name__ == "__main__":
    main()
