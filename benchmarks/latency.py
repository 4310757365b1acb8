"""Realised speed: the gain in onnxruntime beside the gain in FLOPs at ratio 0.5, with and without round_to=8.

    python benchmarks/latency.py [--networks resnet50,vgg16_bn] [--backends onnxruntime,eager] [--runs 30]

The goal is a latency gain of at least 0.7 of the FLOPs gain. Random weights (speed does not depend on
them), images of 224 x 224, batch 1; dense and pruned networks take turns, medians and quartiles are shown.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

import isoprune
from isoprune.export import latency, open_source

NETWORKS = {
    "resnet50": "torchvision:resnet50",
    "vgg16_bn": "torchvision:vgg16_bn",
    "convnextv2_tiny": "timm:convnextv2_tiny",
}
GOAL = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default=",".join(NETWORKS), help="(default: %(default)s)")
    parser.add_argument("--backends", default="onnxruntime", help="(default: %(default)s)")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    console = Console(width=120)
    table = Table("network", "backend", "pruned", box=None)
    for heading in ("median ms", "quartiles", "gain", "FLOPs gain", "part", "goal"):
        table.add_column(heading, justify="right")
    for name in args.networks.split(","):
        source = open_source(NETWORKS[name])
        console.print(f"{name} ...", end=" ")
        networks = {"dense": source.model}
        for round_to in (1, 8):
            result = isoprune.prune(source.model, source.example_inputs, 0.5, round_to=round_to)
            networks[f"0.5, round_to={round_to}"] = result.model
        report = latency(
            networks,
            source.example_inputs,
            backends=args.backends.split(","),
            runs=args.runs,
            threads=args.threads,
            seconds=60,
        )
        for row in report.as_rows():
            first = row["model"] == "dense"
            part = row["of_flops_gain"]
            table.add_row(
                name,
                row["backend"],
                row["problem"] or row["model"],
                f"{row['median_ms']:.2f}",
                f"{row['lower_ms']:.2f}-{row['upper_ms']:.2f}",
                f"{row['gain']:.2f}",
                f"{row['flops_gain']:.2f}",
                "" if first else f"{part:.2f}",
                "" if first else "met" if part >= GOAL else "missed",
            )
        console.print("done")
    console.print(table)
    load = os.getloadavg()[0] if Path("/proc/loadavg").exists() else float("nan")
    console.print(
        f"{args.threads} thread(s); load of the machine at the end: {load:.1f} (alone it would be 1)"
    )


if __name__ == "__main__":
    main()
