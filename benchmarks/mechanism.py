"""Why a repaired network bears the learning rates that it does: function, isometry and sharpness.

    isoprune study studies/repairs.toml --jobs 2
    python benchmarks/mechanism.py runs/studies/repairs.json [--samples 500]

For every repaired network of a finished study, before retraining: validation accuracy, mean Jacobian singular
value, sharpness of the loss on training images (largest eigenvalue of the Hessian, `isometry.sharpness`), and
the rate above which SGD with momentum 0.9 is not stable there. Means over seeds; a row a network, ratio and
repair.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean, mean

import torch

from isoprune.comparison.records import read_records
from isoprune.experiment.config import choice
from isoprune.experiment.networks import load_network
from isoprune.experiment.signatures import bind
from isoprune.experiment.store import Store
from isoprune.isometry import sharpness, stable_rate
from isoprune.reporting.study import make_cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="runs/studies/NAME.json")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--ratio", type=float, help="only this one (default: all)")
    args = parser.parse_args()
    store = Store(args.study.resolve().parents[1])
    found: dict[tuple[str, float, str], dict[str, tuple[float, float, float]]] = defaultdict(dict)
    dense: dict[str, dict[str, tuple[float, float, float]]] = defaultdict(dict)
    data: dict[str, object] = {}
    for cell in make_cells(read_records(args.study)):
        if args.ratio not in (None, cell.ratio):
            continue
        for record in cell.records:
            config = record.config
            key = f"{config['data']} {config['seed']}"
            if key not in data:
                data[key] = bind("data", choice(config["data"], "data"))(seed=config["seed"])
            splits = data[key]
            batch = [(splits.train.inputs[: args.samples], splits.train.targets[: args.samples])]
            places = {"repaired": found[cell.network, cell.ratio, cell.repair], "dense": dense[cell.network]}
            for role, place in places.items():
                made = record.network(role)
                if made is not None and made.digest not in place:
                    network = load_network(store.folder(made.digest))[0]
                    sharp = sharpness(network, batch, iterations=60, tolerance=1e-2)
                    place[made.digest] = (made.metrics["validation_accuracy"], made.jsv["mean"], sharp)
    print("| network | ratio | repair | n | accuracy % | mean JSV | sharpness | stable below |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    rows = [((network, 0.0, "dense"), numbers) for network, numbers in dense.items()] + list(found.items())
    for (network, ratio, repair), numbers in sorted(rows, key=lambda row: row[0][:2]):
        accuracy, jsv, sharp = zip(*numbers.values(), strict=True)
        typical = geometric_mean([max(s, 1e-12) for s in sharp])
        told = (
            f"{100 * mean(accuracy):.1f}",
            f"{mean(jsv):.3g}",
            f"{typical:.3g}",
            f"{stable_rate(typical):.2g}",
        )
        print(
            f"| {network} | {ratio:g} | {repair} | {len(sharp)} | {' | '.join(told)} |",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
