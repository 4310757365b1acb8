"""Checks that a network accepts the data and was trained on it, before anything is written or trained."""

from __future__ import annotations

import torch
from torch import nn

from isoprune.experiment.config import Experiment
from isoprune.experiment.pipeline import splits_of
from isoprune.experiment.seeds import build_model
from isoprune.signals.modes import in_eval_mode
from isoprune.training.checks import check_classes
from isoprune.training.rates import above_chance
from isoprune.training.source import source_of
from isoprune.types import IsopruneError, Splits
from isoprune.types.samples import inputs_at
from isoprune.types.seeded import seeded


def fitting(experiment: Experiment) -> tuple[nn.Module, Splits]:
    """Return the network of a resolved experiment before any training, and its data, once they fit together.

    Raises:
        IsopruneError: If there is none of either, the network does not take the samples, or it has fewer
            outputs than there are classes.
    """
    splits = splits_of(experiment)
    name = experiment.model.name
    model = build_model(experiment.model, splits.in_shape, splits.classes, seed=experiment.seed).eval()
    sample = inputs_at(splits.train, torch.arange(1))
    try:
        with torch.no_grad(), in_eval_mode(model):
            outputs = model(sample)
    except Exception as error:
        raise IsopruneError(
            f"{name} does not take samples of shape {tuple(sample.shape[1:])}, which is what "
            f"{experiment.data.name} has: {type(error).__name__}: {error}. Give the data a size or channels, "
            "or another network."
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2:
        returned = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise IsopruneError(
            f"{name} returns {returned} for one sample, and training takes a row of logits: [1, classes]. "
            "Give a network that classifies."
        )
    check_classes(outputs.shape[1], source_of(splits.train), source_of(splits.validation))
    return model, splits


LOOKED_AT = 256  # validation samples: a network that is trained is told from chance on fewer


def check_trained(model: nn.Module, splits: Splits, name: str) -> None:
    """Raise if the network's accuracy is that of chance: of always naming the most frequent class.

    Raises:
        IsopruneError: With both numbers, and what may be the reason.
    """
    targets = splits.validation.targets
    chosen = torch.randperm(len(targets), generator=seeded(0))[:LOOKED_AT]
    right = 0
    with torch.no_grad(), in_eval_mode(model):
        for inputs, wanted in splits.validation.batches(chosen.split(32)):
            right += int((model(inputs).argmax(1) == wanted).sum())
    n = len(chosen)
    accuracy, chance = right / n, int(targets[chosen].bincount().max()) / n
    if above_chance(accuracy, chance, n):
        return
    raise IsopruneError(
        f"{name} classifies {accuracy:.1%} of {n} validation samples, and the most frequent class is "
        f"{chance:.1%} of them: on this data it is no trained network. Give the weights, or the size, the "
        "normalisation and the order of classes that it was trained with; or train it first: "
        "--dense-epochs 10."
    )
