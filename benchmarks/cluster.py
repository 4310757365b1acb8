"""How much faster is a study on two nodes of a Ray cluster than on one?

Both are nodes of one CPU on this machine, so it needs two idle cores. Every study goes to a fresh store, by
workers that have loaded torch; what is timed is all from the first task to the last.

    python benchmarks/cluster.py --repeats 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster as Nodes

from isoprune.experiment.grid import expand
from isoprune.experiment.ray_executor import RayCluster
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work, run_work

WANTED = 1.7


def study(seeds, epochs):
    training = {"epochs": epochs, "lr": 0.01, "batch": 16, "jsv_samples": 0}
    table = {
        "data": {"name": "digits", "size": 8},
        "model": {"name": "mlp_7", "width": 64, "activation": "relu"},
        "dense": training,
        "prune": {"ratio": 0.5},
        "retrain": training,
        "measure": {"samples": 16},
        "study": {"seed": list(range(seeds)), "repair": ["none", "orthp"]},
    }
    return expand(table, name="cluster")


def seconds(nodes, seeds, epochs):
    """Return how long a study takes on a cluster of so many nodes."""
    how = {"num_cpus": 1, "include_dashboard": False}
    local = Nodes(initialize_head=True, head_node_args=how)
    for _ in range(nodes - 1):
        local.add_node(**how)
    try:
        with RayCluster(local.address) as cluster, tempfile.TemporaryDirectory() as folder:
            once(cluster, study(2 * nodes, 1), Path(folder) / "warm")
            return once(cluster, study(seeds, epochs), Path(folder) / "timed")
    finally:
        local.shutdown()


def once(cluster, wanted, root):
    work = plan_work(wanted, Store(root))
    began = time.perf_counter()
    failures = run_work(work, cluster, on_event=lambda *_: None)
    took = time.perf_counter() - began
    if failures:
        raise SystemExit(f"{len(failures)} tasks failed, the first: {failures[0].outcome.error}")
    return took


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=80)
    args = parser.parse_args()
    pairs = []
    for number in range(args.repeats):
        one, two = (seconds(nodes, args.seeds, args.epochs) for nodes in (1, 2))
        pairs.append((one, two))
        print(f"{number + 1}: one node {one:.1f} s, two nodes {two:.1f} s, {one / two:.2f} times", flush=True)
    ratio = statistics.median(one / two for one, two in pairs)
    print(f"median {ratio:.2f} times (wanted: {WANTED})")
    return 0 if ratio >= WANTED else 1


if __name__ == "__main__":
    raise SystemExit(main())
