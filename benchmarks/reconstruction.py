"""Accuracy without retraining after `criterion="reconstruction"`: python benchmarks/reconstruction.py

Dense networks are trained on Fashion-MNIST (kept under --dense), pruned at each ratio with 2,000 training
images whose labels are not read, and tested: the mean of the seeds with its 95% interval (Student's t). On
--split validation, which is what options are to be chosen on, test images are not read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from scipy.stats import t
from torch import Generator, nn

import isoprune
from isoprune.data import load
from isoprune.methods.schedules import build
from isoprune.models.mlp import MLP, mlp_7
from isoprune.models.resnet import resnet_small
from isoprune.training.evaluate import evaluate
from isoprune.types import Splits


@dataclass(frozen=True)
class Setting:
    """A dense network, how it is trained, and the ratios that are looked at."""

    make: Callable[[Generator], nn.Module]
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    ratios: Sequence[float]
    scope: str = "all"


def lenet_300_100(generator: Generator) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        return MLP([784, 300, 100, 10], nn.ReLU)


_SMALL = {"limit": 10_000, "validation": 2000}
_TRAINING = {
    "epochs": 20,
    "lr": 1e-2,
    "schedule": build("step_decay", epochs=20, milestones=[10, 16]),
}
SETTINGS = {
    "lenet_300_100": Setting(
        lenet_300_100,
        {"size": 28},
        _TRAINING,
        (0.5, 0.6, 0.7, 0.8, 0.9),
    ),
    "mlp_7": Setting(
        lambda g: mlp_7((1, 32, 32), 10, activation="relu", generator=g),
        _SMALL,
        _TRAINING,
        (0.7, 0.9),
    ),
    "resnet_small": Setting(
        lambda g: resnet_small((1, 14, 14), 10, generator=g),
        {**_SMALL, "size": 14},
        {"epochs": 12, "lr": 0.1, "schedule": build("one_cycle", epochs=12)},
        (0.7, 0.9),
        "internal",
    ),
}


def dense_network(name: str, seed: int, splits: Splits, folder: Path) -> nn.Module:
    """Return the trained network of a seed, trained if ``folder`` does not hold it."""
    setting, file = SETTINGS[name], folder / f"{name}-{seed}.safetensors"
    model = setting.make(Generator().manual_seed(seed))
    if file.exists():
        model.load_state_dict(load_file(file))
        return model.eval()
    model = isoprune.retrain(model, splits, batch=100, seed=seed, **setting.training).model
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), file)
    return model.eval()


def mean_and_interval(values: Sequence[float]) -> str:
    x = torch.tensor(values, dtype=torch.float64)
    half = float(t.ppf(0.975, len(x) - 1) * x.std() / len(x) ** 0.5) if len(x) > 1 else float("nan")
    return f"{float(x.mean()):.1f} ± {half:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=SETTINGS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--criterion", default="reconstruction")
    parser.add_argument("--repair", action="append", help="after another criterion, such as auto")
    parser.add_argument("--allocation", default="uniform")
    parser.add_argument("--dense", type=Path, default=Path("runs/dense"), help="folder of dense networks")
    args = parser.parse_args()
    for name in args.network or SETTINGS:
        setting = SETTINGS[name]
        found: dict[float, list[float]] = {0.0: [], **{ratio: [] for ratio in setting.ratios}}
        seconds: list[float] = []
        for seed in range(args.seeds):
            splits = load("fashion_mnist", seed=seed, **setting.data)
            dense = dense_network(name, seed, splits, args.dense)
            judge = splits.test if args.split == "test" else splits.validation
            found[0.0].append(100 * evaluate(dense, judge)["accuracy"])
            images = splits.train.inputs[: args.samples]
            batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in images.split(250)]
            for ratio in setting.ratios:
                began = time.perf_counter()
                small = isoprune.prune(
                    dense, images[:2], ratio, criterion=args.criterion, batches=batches, scope=setting.scope,
                    allocation=args.allocation, seed=seed,
                )  # fmt: skip
                for repair in args.repair or ():
                    small = isoprune.repair(small, repair, batches=batches, seed=seed)
                seconds.append(time.perf_counter() - began)
                found[ratio].append(100 * evaluate(small.model, judge)["accuracy"])
        print(f"{name}, {args.criterion}, {args.split}, {sum(seconds) / len(seconds):.1f} s a network")
        for ratio, values in found.items():
            each = " ".join(f"{v:.1f}" for v in values)
            print(f"  {ratio or 'dense'}: {mean_and_interval(values)}   ({each})", flush=True)


if __name__ == "__main__":
    main()
