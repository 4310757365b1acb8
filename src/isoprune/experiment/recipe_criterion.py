"""The recipe's criterion: `reconstruction` where network and budget allow it, else L1."""

from __future__ import annotations

from typing import Literal

import torch
from msgspec import Struct
from torch import nn

from isoprune.experiment.config import Experiment
from isoprune.experiment.recipe import L1, RECONSTRUCTION
from isoprune.methods.criteria import CRITERIA
from isoprune.methods.criteria.reconstruction_cost import reconstruction_cost
from isoprune.signals.work import WORK
from isoprune.types import IsopruneError, Splits
from isoprune.types.method import method_of
from isoprune.types.samples import inputs_at

SAMPLES = 2048  # that the criterion looks at
MOMENTS, OUTPUTS = 12.0, 2.0  # gigabytes that the criterion and its refit take at most
SHARE = 0.5  # of retraining's work: what choosing may take, where that is more than a minute


class RecipeCriterion(Struct, frozen=True, forbid_unknown_fields=True):
    """A criterion, and why it is not `reconstruction`; "" where it is, or where the user named it."""

    criterion: Literal["l1_norm", "reconstruction"] = L1
    because: str = ""


def criterion_for(experiment: Experiment, model: nn.Module, splits: Splits) -> RecipeCriterion:
    """Return the criterion for the channels of a network that will be retrained.

    Args:
        experiment: Of which grain and retraining are looked at.
        model: As it is before any training.
    """
    because = _why_not(experiment, model, splits)
    if because:
        return RecipeCriterion(L1, f"Channels were chosen by {L1}: {because}.")
    return RecipeCriterion(RECONSTRUCTION)


def _why_not(experiment: Experiment, model: nn.Module, splits: Splits) -> str:
    if experiment.prune.grain not in method_of(CRITERIA[RECONSTRUCTION]).grains:
        return f"{RECONSTRUCTION} does not know the grain {experiment.prune.grain}"
    train = splits.train
    try:
        cost = reconstruction_cost(model, inputs_at(train, torch.arange(1)), min(SAMPLES, len(train)))
    except IsopruneError as error:
        return f"{RECONSTRUCTION} does not know this network ({str(error).rstrip('.')})"
    for name, needed, most in (("read", cost.moments, MOMENTS), ("make", cost.outputs, OUTPUTS)):
        if needed > most:
            return (
                f"{RECONSTRUCTION} would hold up to {needed:.1f} GB of what layers {name}, more than {most:g}"
            )
    how = experiment.retrain
    seen = how.steps * how.batch if how.steps else how.epochs * len(train)
    most = max(WORK / 10, SHARE * 3 * cost.forward * seen)
    if cost.multiply_adds > most:
        half = ", a half of what retraining takes" if seen else ""
        return (
            f"{RECONSTRUCTION} would take {cost.multiply_adds:.1e} multiply-adds, more than {most:.1e}{half} "
            "(--criterion reconstruction takes it all the same)"
        )
    return ""
