"""The default recipe against Torch-Pruning and against L1 with the best rate of a grid.

    python benchmarks/end_to_end.py --store end_to_end [--networks lenet_5,resnet_small] [--seeds 0,1,2]
    python benchmarks/end_to_end.py --store end_to_end --table

Fashion-MNIST (10,000 training images), FLOPs cut to 0.5 and 0.2, the same dense network and the same six
epochs of retraining for all of:

- recipe       what `isoprune prune --data` does: L1, one cycle at the advised rate, batches of 64,
               distillation, the mean of the last weights
- L1, grid     L1, one cycle, batches of 128, the rate of a grid that ends highest on validation data
- TP group L2, TP Taylor   Torch-Pruning in small steps to the same FLOPs, retrained as its CIFAR benchmark
               does: SGD at 1e-2, a tenth of it after 60 % and 80 % of the epochs, batches of 128, weight
               decay 5e-4

Test data is read once, at the end of each run. Paired differences over seeds with 95 % t intervals. Whatever
is in --store is not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import torch
from scipy.stats import t as student
from torch import Generator
from torch.nn.functional import cross_entropy

from isoprune import data
from isoprune.experiment.config import experiment
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import make_step, run
from isoprune.experiment.recipe import recipe
from isoprune.experiment.recipe_steps import digests_by_role
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.methods.schedules import step_decay
from isoprune.training import Training, evaluate, fit

NETWORKS = {
    "lenet_5": ({"name": "lenet_5", "activation": "relu"}, 32, 0.05),
    "resnet_small": ({"name": "resnet_small"}, 28, 0.1),
}
FLOPS, RATES = (0.2, 0.5), (0.03, 0.1, 0.3)
EPOCHS, DENSE_EPOCHS, TRAIN = 6, 12, 10_000
METHODS = ("recipe", "L1, grid", "TP group L2", "TP Taylor")


def ours(name, flops, seed):
    """Return the recipe's table, with the dense training that all share."""
    model, size, lr = NETWORKS[name]
    table = recipe(
        model=model,
        data={"name": "fashion_mnist", "limit": TRAIN, "size": size},
        prune={"flops": flops},
        epochs=EPOCHS,
        seed=seed,
    )
    plain = {"batch": 128, "weight_decay": 5e-4, "schedule": "one_cycle", "jsv_samples": 0}
    table["dense"] = {"epochs": DENSE_EPOCHS, "lr": lr, **plain}
    return table, plain


def with_recipe(store, name, flops, seed):
    record = run(experiment(ours(name, flops, seed)[0]), store, name="recipe")
    return told(record) | {key: record.network("retrained").advice[key] for key in ("lr", "given_up")}


def by_grid(store, name, flops, seed):
    """Return the end of L1 at the rate that ends highest on validation data."""
    table, plain = ours(name, flops, seed)
    ends = []
    for lr in RATES:
        table |= {"repair": "none", "retrain": {"epochs": EPOCHS, "lr": lr, **plain}}
        try:
            record = run(experiment(table), store, name="grid")
        except ValueError as error:  # diverged
            print(f"{name} {flops} {seed} at {lr}: {error}")
            continue
        ends.append(told(record) | {"lr": lr})
    return max(ends, key=lambda end: end["validation"])


def told(record):
    last, dense = record.network("retrained"), record.network("dense")
    return {
        "test": last.metrics["test_accuracy"], "validation": last.metrics["validation_accuracy"],
        "flops": last.flops / dense.flops, "dense": dense.metrics["test_accuracy"],
    }  # fmt: skip


def by_torch_pruning(store, name, flops, seed, importance):
    import torch_pruning as tp

    chosen = resolve(experiment(ours(name, flops, seed)[0]))
    make_step(chosen, store, place=0)
    dense, _ = load_network(store.folder(digests_by_role(chosen)["dense"]))
    splits = data.load("fashion_mnist", seed=seed, limit=TRAIN, size=NETWORKS[name][1])
    example = splits.train.inputs[:1]
    model, scores = copy.deepcopy(dense), getattr(tp.importance, importance)()
    outputs = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 10]
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=scores,
        pruning_ratio=1.0,
        max_pruning_ratio=1.0,
        iterative_steps=400,
        ignored_layers=outputs,
    )
    before, _ = tp.utils.count_ops_and_params(model, example)
    left = before
    while left > flops * before:
        if "Taylor" in importance:
            model.zero_grad()
            cross_entropy(model(splits.train.inputs[:256]), splits.train.targets[:256]).backward()
        pruner.step()
        left, _ = tp.utils.count_ops_and_params(model, example)
    model.zero_grad()
    trained, _ = fit(
        model,
        splits,
        Training(
            EPOCHS, 0.01, step_decay(epochs=EPOCHS, milestones=(0.6, 0.8)), batch=128, weight_decay=5e-4
        ),
        generator=Generator().manual_seed(seed),
    )
    return {"test": evaluate(trained, splits.test)["accuracy"], "flops": left / before}


RUN = {
    "recipe": with_recipe,
    "L1, grid": by_grid,
    "TP group L2": lambda *a: by_torch_pruning(*a, "GroupMagnitudeImportance"),
    "TP Taylor": lambda *a: by_torch_pruning(*a, "GroupTaylorImportance"),
}


def file_of(store, name, flops, seed, method):
    return store.root / "ends" / f"{name}-{flops}-{seed}-{method.replace(' ', '_')}.json"


def table(store, networks):
    for name, flops in product(networks, FLOPS):
        ends = {}
        for method in METHODS:
            files = store.root.glob(f"ends/{name}-{flops}-*-{method.replace(' ', '_')}.json")
            ends[method] = {int(f.name.split("-")[2]): json.loads(f.read_text()) for f in files}
        if not any(ends.values()):
            continue
        dense = [end["dense"] for end in (ends["recipe"] or ends["L1, grid"]).values()]
        print(f"\n**{name}, FLOPs cut to {flops}** (dense {100 * fmean(dense):.2f} %)\n")
        print("| method | test accuracy % | recipe ahead by | FLOPs | rates |\n|---|---|---|---|---|")
        for method in METHODS:
            own = ends[method]
            if not own:
                continue
            both = sorted(own.keys() & ends["recipe"].keys())
            ahead = [100 * (ends["recipe"][s]["test"] - own[s]["test"]) for s in both]
            accuracy = " ".join(f"{100 * own[s]['test']:.2f}" for s in sorted(own))
            rates = ", ".join(f"{own[s]['lr']:g}" for s in sorted(own) if "lr" in own[s])
            mean = fmean(own[s]["test"] for s in own)
            share = fmean(own[s]["flops"] for s in own)
            print(
                f"| {method} | {100 * mean:.2f} ({accuracy}) | "
                f"{interval(ahead) if method != 'recipe' else ''} | {share:.3f} | {rates} |"
            )


def interval(differences):
    if len(differences) < 2:
        return f"{differences[0]:+.2f}" if differences else ""
    n = len(differences)
    half = student.ppf(0.975, n - 1) * stdev(differences) / math.sqrt(n)
    mean = fmean(differences)
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f}), n = {n}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("end_to_end"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=";".join(METHODS))
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    store, networks = Store(args.store), args.networks.split(",")
    torch.set_num_threads(1)
    cases = product([int(s) for s in args.seeds.split(",")], networks, FLOPS, args.methods.split(";"))
    for seed, name, flops, method in [] if args.table else cases:
        file = file_of(store, name, flops, seed, method)
        if not file.exists():
            end = RUN[method](store, name, flops, seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(end))
            print(name, flops, seed, method, f"{100 * end['test']:.2f}", flush=True)
    table(store, networks)


if __name__ == "__main__":
    main()
