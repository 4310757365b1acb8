"""Is the advised learning rate as good as the best of a grid?  python benchmarks/advice.py --out FILE.jsonl

Networks x ratios x criteria on Fashion-MNIST (10,000 training images, 6 epochs, one cycle), three seeds that
had no part in choosing the constants of the advice. Every pruned network is retrained at all five rates and
asked `isoprune.training.advise`, which sees training data only. Judged on the test images, means over seeds:
what the advised rate reaches against what the best rate of the grid reaches; the best is picked by those same
test means, which favours the grid. A case that is in --out is not run again.

    --table FILE    the table of a finished run, as docs/advice.md shows it
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from statistics import fmean

import torch
from torch import Generator

import isoprune
from isoprune import data
from isoprune.methods.schedules import one_cycle
from isoprune.models import build
from isoprune.training import Diverged, Training, evaluate, fit
from isoprune.verbs.advise import RATES, advise

NETWORKS = {
    "mlp_7": ("mlp_7", {"activation": "relu"}, 0.03),
    "lenet_5": ("lenet_5", {"activation": "relu"}, 0.03),
    "resnet, 8 layers": ("resnet_small", {"stem": 8, "blocks": 1}, 0.1),
}
RATIOS, CRITERIA, SEEDS = (0.5, 0.7, 0.8), ("l1_norm", "taylor"), (1, 2, 3)
EPOCHS, DENSE_EPOCHS, BATCH, TRAIN = 6, 12, 128, 10_000
HOW = {"schedule": one_cycle(), "batch": BATCH, "weight_decay": 5e-4}
CLOSE = 0.003


def case(name, seed, splits, dense, ratio, criterion):
    batches = [(splits.train.inputs[:1024], splits.train.targets[:1024])]
    small = isoprune.prune(dense, splits.train.inputs[:2], ratio, criterion=criterion, batches=batches).model
    grid = {}
    for lr in RATES:
        try:
            how = Training(EPOCHS, lr, **HOW)
            trained, _ = fit(small, splits, how, generator=Generator().manual_seed(seed))
            grid[lr] = evaluate(trained, splits.test)["accuracy"]
        except Diverged:
            grid[lr] = None
    advice = advise(small, splits, epochs=EPOCHS, seed=seed, **HOW)
    return {
        "network": name, "ratio": ratio, "criterion": criterion, "seed": seed,
        "grid": grid, "advised": advice.lr, "probes": [p.metric_value for p in advice.probes],
        "steps": [p.steps for p in advice.probes], "full": advice.steps,
    }  # fmt: skip


def run(out):
    torch.set_num_threads(1)
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(r["network"], r["ratio"], r["criterion"], r["seed"]) for r in done}
    for seed, (name, (kind, options, lr)) in product(SEEDS, NETWORKS.items()):
        todo = [c for c in product(RATIOS, CRITERIA) if (name, *c, seed) not in known]
        if not todo:
            continue
        splits = data.load("fashion_mnist", seed=seed, limit=TRAIN)
        drawn = build(
            kind, splits.in_shape, splits.classes, generator=Generator().manual_seed(seed), **options
        )
        how = Training(DENSE_EPOCHS, lr, **HOW)
        dense, _ = fit(drawn, splits, how, generator=Generator().manual_seed(seed))
        for ratio, criterion in todo:
            row = case(name, seed, splits, dense, ratio, criterion)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(name, ratio, criterion, seed, row["advised"], row["grid"], flush=True)


def table(out):
    """Print each case: the mean accuracy of every rate, of the advised ones, and what the advice lost."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    print("| network | ratio | criterion | " + " | ".join(f"{lr:g}" for lr in RATES), end="")
    print(" | advised | at those rates | loses |\n|" + "---|" * (len(RATES) + 6))
    lost = []
    for key in dict.fromkeys((r["network"], r["ratio"], r["criterion"]) for r in rows):
        mine = [r for r in rows if (r["network"], r["ratio"], r["criterion"]) == key]
        chance = 0.1
        means = {lr: fmean(r["grid"][f"{lr}"] or chance for r in mine) for lr in RATES}
        reached = fmean(r["grid"][f"{r['advised']}"] or chance for r in mine)
        best = max(means, key=means.__getitem__)
        lost.append(means[best] - reached)
        cells = [f"**{100 * means[lr]:.1f}**" if lr == best else f"{100 * means[lr]:.1f}" for lr in RATES]
        rates = ", ".join(f"{r['advised']:g}" for r in mine)
        told = [*map(str, key), *cells, rates, f"{100 * reached:.1f}", f"{100 * lost[-1]:.1f}"]
        print("| " + " | ".join(told) + " |")
    cost = fmean(sum(r["steps"]) / (len(RATES) * r["full"]) for r in rows)
    near = sum(loss <= CLOSE for loss in lost)
    print(f"\nWithin {100 * CLOSE:.1f} points of the best of the grid: {near} of {len(lost)} cases, ", end="")
    print(f"n = {len({r['seed'] for r in rows})} seeds. Steps of the probes: {cost:.1%} of the grid's.")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("advice.jsonl"))
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    if args.table is None:
        run(args.out)
    table(args.table or args.out)


if __name__ == "__main__":
    main()
