"""Halving the channels of the 27 networks, beside Torch-Pruning: python benchmarks/surgery.py [NAME ...]

Both are asked for the same: half of the channels by L1 norm, the classifier whole, no hints. Each network and
tool has a process of its own (one thread, 60 s and 9 GB), the two tools in turns. "Plan and remove" is
everything from the dense network to the smaller one, in seconds of the processor; imports
and building the network are not counted, what
a first call costs is. FLOPs are counted by torch on the networks before and after. Right: the smaller network
runs, has its 1000 outputs, and (ours) is proven against the dense one; that proof has its own column, since
Torch-Pruning has none.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

TOOLS = ("isoprune", "torch-pruning")
SECONDS, BYTES = 60, 9 * 2**30
HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "tests"))  # the list of networks is that of the test matrix


def ours(model: Any, x: Any) -> dict[str, Any]:
    """Time the parts of `prune` one by one."""
    import torch

    from isoprune.graph import trace
    from isoprune.methods.criteria import scores_of
    from isoprune.pruning import make_plan, shrink, verify
    from isoprune.pruning.prune import settle
    from isoprune.signals import Signals

    begin = time.process_time()
    graph = trace(model, x)

    def planner(graph: Any, links: Any) -> Any:
        scores = scores_of("l1_norm", Signals(model), graph.groups, generator=torch.Generator())
        return make_plan(graph, scores, ratio=0.5, links=links)

    settled = settle(model, graph, planner)
    small = shrink(model, settled.graph, settled.plan, drifts=settled.drifts)
    removed = time.process_time()
    memory = peak()
    proof = verify(model, small, settled.graph, settled.plan, x)
    return {
        "seconds": removed - begin, "memory": memory, "verify": time.process_time() - removed,
        "error": proof.relative_error, "model": small,
    }  # fmt: skip


def theirs(model: Any, x: Any) -> dict[str, Any]:
    import torch_pruning as tp
    from torch import nn

    begin = time.process_time()
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1000]
    importance = tp.importance.MagnitudeImportance(p=1)
    options = {"importance": importance, "pruning_ratio": 0.5, "ignored_layers": heads}
    pruner = tp.pruner.MagnitudePruner(model, x, **options)
    pruner.step()
    return {"seconds": time.process_time() - begin, "memory": peak(), "model": model}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def multiply_adds(model: Any, x: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() // 2


def one(tool: str, name: str) -> dict[str, Any]:
    """Measure one tool on one network, in this process."""
    import torch

    from pruning.zoo import MATRIX, made

    if tool == "torch-pruning":
        import torch_pruning  # noqa: F401  imports are not counted
    else:
        import isoprune.methods.criteria
        import isoprune.pruning  # noqa: F401

    torch.set_num_threads(1)
    entry = next(e for e in MATRIX if e.name == name)
    x = entry.inputs()
    model = made(entry)
    dense = multiply_adds(model, x)
    before = peak()
    row = (ours if tool == "isoprune" else theirs)(model, x)
    small = row.pop("model")
    with torch.no_grad():
        shape = tuple(small(x).shape)
    row["memory"] -= before
    row["flops"] = dense / multiply_adds(small, x)
    row["right"] = shape == (1, 1000)
    if not row["right"]:
        row["why"] = f"outputs {shape}"
    return row


def limited(tool: str, name: str) -> dict[str, Any]:
    """Run `one` in a process with limits."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))

    command = [sys.executable, str(HERE), "--one", tool, name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"right": False, "why": f"longer than {SECONDS} s"}
    if done.returncode:
        return {"right": False, "why": (done.stderr.strip().splitlines() or ["killed"])[-1][:80]}
    return json.loads(done.stdout.splitlines()[-1])


def cells(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return f"| – | – | – | {row['why']} "
    right = "right" if row["right"] else row["why"]
    return f"| {row['seconds']:.2f} | {row['memory'] / 2**20:.0f} | {row['flops']:.2f} | {right} "


def main(names: list[str]) -> None:
    from pruning.zoo import TIMM, TORCHVISION

    print("| network | ours: s | MB | FLOPs ÷ | | verify s | Torch-Pruning: s | MB | FLOPs ÷ | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = {}
    for name in names or [*TORCHVISION.split(), *TIMM.split()]:
        mine, other = (limited(tool, name) for tool in TOOLS)
        rows[name] = mine, other
        verified = f"| {mine['verify']:.2f} " if "verify" in mine else "| – "
        print(f"| {name} {cells(mine)}{verified}{cells(other)}|", flush=True)
    both = [(a, b) for a, b in rows.values() if a["right"] and b["right"]]
    mine, other = (sum(pair[i]["seconds"] for pair in both) for i in (0, 1))
    right = [sum(pair[i]["right"] for pair in rows.values()) for i in (0, 1)]
    print(f"\nRight: ours {right[0]} of {len(rows)}, Torch-Pruning {right[1]}.")
    print(f"Over the {len(both)} that both do: {mine:.2f} s and {other:.2f} s, {other / mine:.1f} times.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
    else:
        main(sys.argv[1:])
