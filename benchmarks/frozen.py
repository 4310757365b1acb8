"""What stays whole in which network of the matrix, by which operation: python benchmarks/frozen.py

The 27 networks and three transformers of tests/pruning/zoo.py lose half of their channels by L1 norm, no
hints. Writes docs/frozen.md: the FLOPs gain of each beside its goal (3 times for convolutional networks, 1.8
for transformers and mixers), and every reason for which channels stay, with the layers that make them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the list of networks is that of the test matrix

HEAD = """\
# What stays whole, in which network, and why

Made by `python benchmarks/frozen.py`: ratio 0.5 by L1 norm, no hints, random weights. The goal is 3 times
fewer FLOPs for convolutional networks and 1.8 times for transformers and mixers. Every network is proven, in
eval and in train mode. The outputs of the classifier and the words of a vocabulary stay everywhere and are
not listed. Seconds are by the clock, here beside other work.

| network | FLOPs ÷ | goal | | filters removed | max error ÷ largest output | seconds | else frozen |
|---|---:|---:|---|---:|---:|---:|---:|
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of the matrix; without: all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "frozen.md")
    options = parser.parse_args()
    import torch

    from isoprune.verbs import prune
    from pruning.zoo import BELOW_GOAL, MATRIX, made

    torch.set_num_threads(1)
    table, details = [], []
    for entry in MATRIX:
        if options.names and entry.name not in options.names:
            continue
        model, x = made(entry), entry.inputs()
        begin = time.perf_counter()
        result = prune(model, x, 0.5)
        seconds = time.perf_counter() - begin
        gain = 1 / (1 - result.costs.ratios["flops"])
        goal = 1.8 if entry.attention else 3.0
        lines = list(reasons(result.graph, {name for name, _ in model.named_parameters()}))
        met = "met" if gain >= goal else f"below: {BELOW_GOAL[entry.name][1]}"
        table.append(
            f"| {entry.name} | {gain:.2f} | {goal} | {met} | {result.costs.ratios['filters']:.1%} | "
            f"{result.proof.relative_error:.0e} | {seconds:.1f} | {len(lines) or 'nothing'} |"
        )
        print(table[-1], flush=True)
        if lines:
            details += [f"\n## {entry.name}\n", *lines]
    body = "\n".join(details) if details else "\nNothing else is frozen in any of them."
    options.out.write_text(HEAD + "\n".join(table) + "\n" + body + "\n", encoding="utf-8")


def reasons(graph: Any, filters: set[str]) -> Iterator[str]:
    """Yield a line per reason: how many channels, of which parameters."""
    by_reason: dict[str, list[str]] = {}
    for f in graph.frozen:
        if f.tensor in filters and f.reason != "the network's output" and "vocabulary" not in f.reason:
            by_reason.setdefault(f.reason, []).append(f"`{f.tensor}` ({f.channels})")
    for reason, tensors in by_reason.items():
        some = ", ".join(tensors[:4]) + (f" and {len(tensors) - 4} more" if len(tensors) > 4 else "")
        yield f"- {reason}: {some}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
