"""Accuracy without labels: python benchmarks/polish.py --network mlp_7 --ratio 0.9 [--criterion l1_norm]

Dense networks of benchmarks/reconstruction.py (kept under --dense) are pruned with 2,000 training images,
whose labels are not read, and `retrain_budget=0`: chosen, refit, polished and balanced. One line of JSON a
network; on --split validation, which is what options were chosen on, test images are not read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import isoprune
from isoprune.data import load
from isoprune.training import evaluate
from reconstruction import SETTINGS, dense_network


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=SETTINGS, required=True)
    parser.add_argument("--ratio", type=float, action="append", required=True)
    parser.add_argument("--criterion", default="reconstruction")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--dense", type=Path, default=Path("runs/dense"))
    args = parser.parse_args()
    setting = SETTINGS[args.network]
    for seed in args.seeds:
        splits = load("fashion_mnist", seed=seed, **setting.data)
        dense = dense_network(args.network, seed, splits, args.dense)
        judge = splits.test if args.split == "test" else splits.validation
        images = splits.train.inputs[:2000]
        batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in images.split(250)]
        for ratio in args.ratio:
            small = isoprune.prune(
                dense, images[:2], ratio, criterion=args.criterion, batches=batches, scope=setting.scope,
                seed=seed, retrain_budget=0,
            )  # fmt: skip
            row = {"network": args.network, "seed": seed, "ratio": ratio, **small.history[-1]["samples"]}
            row |= {
                name: round(100 * evaluate(net, judge)["accuracy"], 2)
                for name, net in (("dense", dense), ("polished", small.model))
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
