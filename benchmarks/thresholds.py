"""What lost isometry costs: accuracy that a tenth of the learning rate lacks, by what the mean JSV fell to.

    isoprune study studies/thresholds.toml --jobs 2
    python benchmarks/thresholds.py runs/studies/thresholds.json

One row a range of (mean JSV of the pruned network) / (that of the dense one): how many points of validation
accuracy the small learning rate ends below the large one, beyond what it does at the smallest ratio; paired
by network, ratio and seed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from itertools import pairwise
from pathlib import Path

from isoprune.comparison.records import read_records

EDGES = (0.0, 0.003, 0.03, 0.1, 0.5, 2.0, math.inf)


def pairs(listing):
    """Yield (JSV over dense, more values below 1e-3 by, points lacking, network) of every pruned network."""
    found = {}
    for record in read_records(listing):
        config = record.config
        name = f"{config['model']['name']} {config['model']['activation']}"
        key = (name, config["prune"]["ratio"], config["seed"])
        found.setdefault(key, {})[config["retrain"]["lr"]] = record
    least = min(ratio for _, ratio, _ in found)
    for (name, ratio, seed), records in found.items():
        if ratio > least:
            jsv = [records[min(records)].network(role).jsv for role in ("pruned", "dense")]
            vanished = jsv[0]["below_1e3"] - jsv[1]["below_1e3"]
            lacking = gap(records) - gap(found[name, least, seed])
            yield jsv[0]["mean"] / jsv[1]["mean"], vanished, lacking, name


def gap(records):
    ends = [records[f(records)].network("retrained") for f in (min, max)]
    small, large = (network.metrics["validation_accuracy"] for network in ends)
    return 100 * (large - small)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("listing", type=Path)
    rows = list(pairs(parser.parse_args().listing))
    print("| JSV / dense | n | median points lacking | quartiles | more values below 0.001 by |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for low, high in pairwise(EDGES):
        chosen = [row for row in rows if low <= row[0] < high]
        if len(chosen) > 1:
            gaps = statistics.quantiles([row[2] for row in chosen], n=4)
            vanished = statistics.median(row[1] for row in chosen)
            print(
                f"| {low:g} to {high:g} | {len(chosen)} | {gaps[1]:.1f} | {gaps[0]:.1f} to {gaps[2]:.1f} "
                f"| {vanished:.2f} |"
            )


if __name__ == "__main__":
    main()
