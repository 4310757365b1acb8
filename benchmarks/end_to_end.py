"""The default recipe against Torch-Pruning and against L1 with the best rate of a grid, in equal samples.

    python benchmarks/end_to_end.py --store end_to_end [--networks lenet_5,resnet_small] [--seeds 0,1,2]
    python benchmarks/end_to_end.py --store end_to_end --table

Fashion-MNIST, FLOPs cut to 0.5 and 0.2, the same dense network of each seed for all of:

- recipe       what `isoprune prune --data` does, its retraining shortened so that all of it takes about
               the budget: three epochs of LeNet-5, six of the residual network, which has fewer images
- L1, grid     L1, one cycle, batches of 128, the rate of a grid that ends highest on validation data
- TP group L2, TP Taylor   Torch-Pruning in small steps to the same FLOPs, retrained as its CIFAR benchmark
               does: SGD at 1e-2, a tenth of it after 60 % and 80 % of the epochs, batches of 128, weight
               decay 5e-4

Samples seen are images read after the dense training: those of steps, of a training that is given up too,
those that the criterion and its refit read (2,048 each, kept in memory), and those on which BatchNorm's
statistics are taken anew. The recipe goes first, and the others take as many, in steps alone. The grid
trains as often as it has rates, and only its best training is counted.

Test data is read once, at the end of each run. Paired differences over seeds with 95 % t intervals; p after
Holm over the cells of a method. Whatever is in --store is not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Generator, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune import data
from isoprune.comparison.statistics import Summary, holm, p_value, paired_difference
from isoprune.experiment.config import experiment
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import make_step, run
from isoprune.experiment.recipe import RECONSTRUCTION, recipe
from isoprune.experiment.recipe_criterion import SAMPLES
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.methods.schedules import step_decay
from isoprune.training import Training, evaluate, fit
from isoprune.types.training_cost import samples_estimated

BATCH, VALIDATION, FLOPS = 128, 2_000, (0.2, 0.5)


class Setting(NamedTuple):
    """A network, its data and its budget, in epochs of its training images."""

    model: dict[str, Any]
    size: int
    images: int
    dense_epochs: int
    dense_lr: float
    epochs: int
    share: float  # of the budget, which the recipe's retraining has
    rates: tuple[float, ...]  # of the grid


NETWORKS = {
    "lenet_5": Setting({"name": "lenet_5", "activation": "relu"}, 32, 10_000, 10, 0.05, 3, 0.86, (0.03, 0.1)),
    "resnet_small": Setting(
        {"name": "resnet_small", "blocks": 1}, 14, 4_000, 12, 0.1, 6, 0.77, (0.03, 0.1, 0.3)
    ),
}
METHODS = ("recipe", "L1, grid", "TP group L2", "TP Taylor")
PLAIN = {"batch": BATCH, "weight_decay": 5e-4, "schedule": "one_cycle", "jsv_samples": 0}


def ours(name, flops, seed):
    """Return the recipe's table, with the dense training that all share."""
    how = NETWORKS[name]
    table = recipe(
        model=how.model,
        data={"name": "fashion_mnist", "limit": how.images, "size": how.size, "validation": VALIDATION},
        prune={"flops": flops, "criterion": RECONSTRUCTION},
        epochs=how.epochs,
        seed=seed,
    )
    table["dense"] = {"epochs": how.dense_epochs, "lr": how.dense_lr, **PLAIN}
    table["measure"] = {"samples": 4}
    steps = int(how.share * how.epochs * how.images) // table["retrain"]["batch"]
    table["retrain"] |= {"steps": steps, "jsv_samples": 0}
    return table


def dense_of(store, table):
    """Return the dense network of a table, which was trained or is now."""
    chosen = resolve(experiment(table))
    make_step(chosen, store, place=0)
    return load_network(store.folder(placed(chosen)[0].digest))[0]


def with_recipe(store, name, flops, seed):
    table = ours(name, flops, seed)
    record = run(experiment(table), store, name="recipe")
    last = record.network("retrained")
    normed = any(isinstance(m, _BatchNorm) for m in dense_of(store, table).modules())
    samples = last.training.samples + 2 * SAMPLES
    if normed:
        once = samples_estimated(NETWORKS[name].images, batch=table["retrain"]["batch"])
        samples += (1 + len(last.advice["given_up"])) * once
    return told(record) | {
        "samples": samples,
        "work": sum(n.training.multiply_adds for n in record.networks if n.training and n.role != "dense"),
        "lr": last.advice["lr"],
        "given_up": last.advice["given_up"],
    }


def by_grid(store, name, flops, seed):
    """Return the end of L1 at the rate that ends highest on validation data."""
    samples = samples_of(store, name, flops, seed)
    steps = samples // BATCH
    epochs = -(-steps // -(-NETWORKS[name].images // BATCH))
    ends = []
    for lr in NETWORKS[name].rates:
        table = ours(name, flops, seed)
        table["prune"] = {"flops": flops, "criterion": "l1_norm"}
        table |= {"repair": "none", "retrain": {"epochs": epochs, "steps": steps, "lr": lr, **PLAIN}}
        try:
            record = run(experiment(table), store, name="grid")
        except ValueError as error:  # diverged
            print(f"{name} {flops} {seed} at {lr}: {error}")
            continue
        training = record.network("retrained").training
        ends.append(told(record) | {"lr": lr, "samples": training.samples, "work": training.multiply_adds})
    return max(ends, key=lambda end: end["validation"])


def samples_of(store, name, flops, seed):
    """Return how many samples the recipe saw."""
    file = file_of(store, name, flops, seed, "recipe")
    if not file.exists():
        raise SystemExit(f"{name} at {flops}, seed {seed}: the recipe comes first. Add it to --methods.")
    return json.loads(file.read_text())["samples"]


def told(record):
    last, dense = record.network("retrained"), record.network("dense")
    return {
        "test": last.metrics["test_accuracy"], "validation": last.metrics["validation_accuracy"],
        "flops": last.flops / dense.flops, "dense": dense.metrics["test_accuracy"],
        "before": record.network("repaired").metrics["test_accuracy"],
    }  # fmt: skip


def by_torch_pruning(store, name, flops, seed, importance):
    import torch_pruning as tp

    dense = dense_of(store, ours(name, flops, seed))
    how = NETWORKS[name]
    splits = data.load("fashion_mnist", seed=seed, limit=how.images, size=how.size, validation=VALIDATION)
    example = splits.train.inputs[:1]
    model, scores = copy.deepcopy(dense), getattr(tp.importance, importance)()
    outputs = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 10]
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
    steps = samples_of(store, name, flops, seed) // BATCH
    epochs = -(-steps // -(-len(splits.train) // BATCH))
    schedule = step_decay(epochs=epochs, milestones=(0.6, 0.8))
    training = Training(epochs, 0.01, schedule, batch=BATCH, steps=steps, weight_decay=5e-4)
    trained, _ = fit(model, splits, training, generator=Generator().manual_seed(seed))
    return {
        "test": evaluate(trained, splits.test)["accuracy"], "flops": left / before, "samples": steps * BATCH,
    }  # fmt: skip


RUN = {
    "recipe": with_recipe,
    "L1, grid": by_grid,
    "TP group L2": lambda *a: by_torch_pruning(*a, "GroupMagnitudeImportance"),
    "TP Taylor": lambda *a: by_torch_pruning(*a, "GroupTaylorImportance"),
}


def file_of(store, name, flops, seed, method):
    return store.root / "ends" / f"{name}-{flops}-{seed}-{method.replace(' ', '_')}.json"


def found(store, name, flops, method):
    """Return the end of each seed."""
    files = store.root.glob(f"ends/{name}-{flops}-*-{method.replace(' ', '_')}.json")
    return {int(f.name.split("-")[2]): json.loads(f.read_text()) for f in files}


def ahead(store, name, flops, method):
    """Return by how many points the recipe is ahead of a method."""
    test = [
        {seed: 100 * end["test"] for seed, end in found(store, name, flops, which).items()}
        for which in ("recipe", method)
    ]
    return paired_difference(*test)


def table(store, networks):
    cells = [cell for cell in product(networks, FLOPS) if found(store, *cell, "recipe")]
    corrected = {}
    for method in METHODS[1:]:
        corrected[method] = dict(
            zip(cells, holm([p_value(ahead(store, *cell, method)) for cell in cells]), strict=True)
        )
    for cell in cells:
        name, flops = cell
        ends = {method: found(store, *cell, method) for method in METHODS}
        dense = 100 * fmean(end["dense"] for end in ends["recipe"].values())
        print(f"\n**{name}, FLOPs cut to {flops}** (dense {dense:.2f} %)\n")
        print("| method | test accuracy % | recipe ahead by | p, Holm | FLOPs | samples | rates |")
        print("|---|---|---|---|---|---|---|")
        for method, own in ends.items():
            if not own:
                continue
            of = [own[seed] for seed in sorted(own)]
            accuracy = " ".join(f"{100 * end['test']:.2f}" for end in of)
            rates = ", ".join(f"{end['lr']:g}" for end in of if "lr" in end)
            means = {key: fmean(end[key] for end in of) for key in ("test", "flops", "samples")}
            difference, p = "", ""
            if method != "recipe":
                difference = in_words(ahead(store, *cell, method))
                p = corrected[method][cell]
                p = f"{p:.3f}" if p >= 0.0005 else "< 0.001"
            print(
                f"| {method} | {100 * means['test']:.2f} ({accuracy}) | {difference} | {p} | "
                f"{means['flops']:.3f} | {means['samples']:,.0f} | {rates} |"
            )


def in_words(difference: Summary) -> str:
    low, high = difference.interval
    return f"{difference.mean:+.2f} ({low:+.2f} to {high:+.2f}), n = {difference.n}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("end_to_end"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7")
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
