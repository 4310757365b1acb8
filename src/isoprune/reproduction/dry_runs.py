"""A study's networks without its data: built, pruned, verified; and how long their training would take."""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoprune.experiment import seeds
from isoprune.experiment.config import Experiment
from isoprune.experiment.config import experiment as read
from isoprune.experiment.digests import canonical
from isoprune.experiment.pipeline import splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.signatures import bind
from isoprune.pruning import Pruned
from isoprune.types.errors import IsopruneError
from isoprune.types.seeded import seeded
from isoprune.verbs import prune

# Data set -> channels, pixels a side, classes; folders of images say the first two themselves.
_SHAPES = {
    "digits": (1, 32, 10),
    "mnist": (1, 32, 10),
    "fashion_mnist": (1, 32, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
}
# Training images of data that is not here; a part of them becomes the validation split.
_IMAGES = {"mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000, 100: 126_689, 1000: 1_281_167}


@dataclass(frozen=True)
class DryRun:
    """A network of a study, dense and pruned."""

    experiment: Experiment
    dense: nn.Module
    result: Pruned
    example: torch.Tensor

    @property
    def removed(self) -> float:
        """The fraction of weights that went."""
        return float(self.result.costs.ratios["parameters"])

    @property
    def speedup(self) -> float:
        """Multiply-adds of the dense network over those of the pruned one."""
        return self.result.costs.dense.flops / self.result.costs.pruned.flops


def shape_of(experiment: Experiment, image_classes: int) -> tuple[tuple[int, int, int], int]:
    """Return the shape of an input and the number of classes, without the data.

    Raises:
        IsopruneError: For a data set that is not one of the papers'.
    """
    options, name = experiment.data.options, experiment.data.name
    if name == "image_folder":
        size = int(options.get("size", 224))
        return (int(options.get("channels", 3)), size, size), image_classes
    if name not in _SHAPES:
        raise IsopruneError(
            f"The shape of {name!r} is not known without its files. Take one of: {', '.join(_SHAPES)}."
        )
    channels, size, classes = _SHAPES[name]
    size = int(options.get("size", size))
    return (channels, size, size), classes


def unique_networks(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return one experiment for every network, pruned in one way."""
    found: dict[str, Experiment] = {}
    for experiment in experiments:
        config = experiment.as_dict()
        data = {k: v for k, v in config["data"].items() if k in ("name", "size", "channels")}
        found.setdefault(canonical([data, config["model"], _shot(experiment)]), experiment)
    return list(found.values())


def dry_run(experiment: Experiment, image_classes: int) -> DryRun:
    """Return the network of an experiment, drawn anew, and what pruning in one shot makes of it, verified.

    Which channels go depends on training, how many of them does not.

    Raises:
        IsopruneError: If it cannot be built, pruned or verified.
    """
    in_shape, classes = shape_of(experiment, image_classes)
    model = seeds.build_model(
        resolve(_readable(experiment)).model, in_shape, classes, seed=experiment.seed
    ).eval()
    example = torch.rand(2, *in_shape, generator=seeded(0))
    shot = _shot(experiment)
    result = prune(model, example, **shot, criterion=bind("criterion", experiment.prune.criterion))
    return DryRun(experiment, model, result, example)


def _shot(experiment: Experiment) -> dict[str, Any]:
    keys = ("ratio", "flops", "parameters", "scope", "allocation", "round_to", "floor", "cap")
    return {key: getattr(experiment.prune, key) for key in keys}


def _readable(experiment: Experiment) -> Experiment:
    """Return the experiment without the files that its data and weights would be read from."""
    config = experiment.as_dict()
    model = config["model"]
    if isinstance(model, dict) and "weights" in model:
        model = model | {"weights": "none"}
    return read(config | {"data": "digits", "model": model})


def sizes(experiment: Experiment, image_classes: int) -> tuple[int, int]:
    """Return the multiply-adds of a sample's forward pass, dense and pruned."""
    config = experiment.as_dict()
    prune = {key: value for key, value in config["prune"].items() if key != "train"}
    shape_only = {"data": config["data"], "model": config["model"], "prune": prune}
    return _sizes(canonical({**shape_only, "dense": {"epochs": 0}, "retrain": {"epochs": 0}}), image_classes)


@functools.cache
def _sizes(config: str, image_classes: int) -> tuple[int, int]:
    costs = dry_run(read(json.loads(config)), image_classes).result.costs
    return costs.dense.flops, costs.pruned.flops


def train_samples(experiment: Experiment) -> int | None:
    """Return the size of the training split, None where the data is not here."""
    try:
        return len(splits_of(resolve(experiment)).train)
    except IsopruneError:
        return None


def days(experiments: Sequence[Experiment], image_classes: int) -> float:
    """Return about how many days all trainings of a study would take here, one after the other.

    A step of every dense network is timed on eight images and scaled by what there is to learn from, and for
    a pruned network by its multiply-adds: an order of magnitude, not a promise.
    """
    seconds, taken, trained = 0.0, {}, set()
    for experiment in experiments:
        config = experiment.as_dict()
        key = canonical([config["model"], shape_of(experiment, image_classes)])
        if key not in taken:
            found = dry_run(experiment, image_classes)
            taken[key] = _seconds_a_sample(found.dense, found.example)
        images = _images(experiment, image_classes) * taken[key]
        dense = canonical([config[k] for k in ("seed", "data", "model", "dense")])
        if dense not in trained:
            trained.add(dense)
            seconds += experiment.dense.epochs * images
        large, small = sizes(experiment, image_classes)
        seconds += experiment.retrain.epochs * images * small / large
        if (train := getattr(experiment.prune, "train", None)) is not None:
            seconds += train.epochs * images
    return seconds / 86_400


def _images(experiment: Experiment, image_classes: int) -> int:
    name, options = experiment.data.name, experiment.data.options
    found = _IMAGES[image_classes] if name == "image_folder" else _IMAGES.get(name, 10_000)
    return min(found, options.get("limit") or found)


def _seconds_a_sample(model: nn.Module, example: torch.Tensor) -> float:
    model.train()
    inputs = example.repeat(4, 1, 1, 1)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        model.zero_grad()
        model(inputs).logsumexp(1).sum().backward()
        taken.append(time.perf_counter() - began)
    model.eval()
    return statistics.median(taken) / len(inputs)
