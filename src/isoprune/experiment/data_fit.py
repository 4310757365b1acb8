"""Whether a network takes the data, told before anything is written or trained."""

from __future__ import annotations

import torch
from torch import nn

from isoprune.experiment.config import Experiment
from isoprune.experiment.pipeline import splits_of
from isoprune.experiment.seeds import build_model
from isoprune.signals.modes import in_eval_mode
from isoprune.training.checks import check_classes
from isoprune.training.source import source_of
from isoprune.types import CLASSIFICATION, IsopruneError, Splits
from isoprune.types.samples import inputs_at


def fitting(experiment: Experiment) -> tuple[nn.Module, Splits]:
    """Return the network of a resolved experiment, as it is before any training, and its data.

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
        told = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise IsopruneError(
            f"{name} returns {told} for one sample, and training takes a row of logits: [1, classes]. Give a "
            "network that classifies."
        )
    check_classes(model, source_of(splits.train), source_of(splits.validation), CLASSIFICATION)
    return model, splits
