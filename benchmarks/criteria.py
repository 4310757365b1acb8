"""Every criterion on the same networks: accuracy after removal and after a short retraining, and the time.

`python benchmarks/criteria.py`: LeNet-5 on Fashion-MNIST, a dense network a seed, trained on 4,000 images for
6 epochs. Channels: 0.7 of every layer's filters are removed. Weights: 0.95 of all are masked, layers compete.
Scores see 512 training images; those that read labels see them, no other data. Then 2 epochs at 0.05 (the
dense rate), alike for all; samples that a criterion itself trained on are in the table. The last weights are
judged on 2,000 test images. Means and 95 % intervals of Student's t over seeds; a look at the field, not the
study that ranks it: one network, one rate, one budget.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any

import torch
from scipy.stats import t as student

import isoprune
from isoprune.data import DATA
from isoprune.methods.criteria import CRITERIA
from isoprune.models import MODELS
from isoprune.types import IsopruneError
from isoprune.types.method import method_of

GRAINS = {"channel": {"ratio": 0.7}, "weight": {"ratio": 0.95, "allocation": "global"}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--grains", nargs="+", default=list(GRAINS), choices=list(GRAINS))
    options = parser.parse_args()
    splits = DATA["fashion_mnist"](limit=4500)
    x = torch.stack([splits.train[i][0] for i in range(2)])
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    refused: dict[tuple[str, str], str] = {}
    dense = []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        model = isoprune.retrain(MODELS["lenet_5"]("relu"), train=splits.train, lr=0.05, epochs=6, seed=seed)
        dense.append(accuracy(model.model, splits))
        for grain in options.grains:
            for name, criterion in CRITERIA.items():
                facts = method_of(criterion)
                if grain not in facts.grains or (grain, name) in refused or "history" in facts.needs:
                    continue
                began = time.perf_counter()
                try:
                    small = isoprune.prune(
                        model.model, x, criterion=name, grain=grain, seed=seed, **GRAINS[grain],
                        batches=batches(splits),
                    )  # fmt: skip
                except IsopruneError as error:
                    refused[grain, name] = str(error)
                    print(f"{grain} {name}: {error}", flush=True)
                    continue
                took = time.perf_counter() - began
                before = accuracy(small.model, splits)
                done = isoprune.retrain(small, train=splits.train, lr=0.05, epochs=2, seed=seed)
                row = (before, accuracy(done.model, splits), took)
                found.setdefault((grain, name), []).append(row)
                print(grain, name, seed, *(f"{v:.1f}" for v in row), flush=True)
    print(f"\ndense: {interval(dense)}\n")
    print(
        "| grain | criterion | no retraining, % | 2 epochs, % | seconds |\n|---|---|---:|---:|---:|",
        *table(found), sep="\n",
    )  # fmt: skip


def batches(splits: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the first 512 training images with their labels."""
    pairs = [splits.train[i] for i in range(512)]
    x, y = torch.stack([p[0] for p in pairs]), torch.tensor([int(p[1]) for p in pairs])
    return list(zip(x.split(64), y.split(64), strict=True))


@torch.no_grad()
def accuracy(model: torch.nn.Module, splits: Any) -> float:
    pairs = [splits.test[i] for i in range(2000)]
    x, y = torch.stack([p[0] for p in pairs]), torch.tensor([int(p[1]) for p in pairs])
    return 100 * float((model.eval()(x).argmax(1) == y).float().mean())


def table(found: dict[tuple[str, str], list[tuple[float, float, float]]]) -> list[str]:
    """Return the rows, those that retrain to the most first."""
    order = sorted(found, key=lambda key: (key[0], -statistics.mean(row[1] for row in found[key])))
    rows = []
    for grain, name in order:
        before, after, took = zip(*found[grain, name], strict=True)
        rows.append(
            f"| {grain} | `{name}` | {interval(list(before))} | {interval(list(after))} "
            f"| {statistics.median(took):.1f} |"
        )
    return rows


def interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
