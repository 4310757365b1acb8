"""Whether a network that is called trained has learned anything of the data at hand."""

from __future__ import annotations

import math

import torch
from torch import nn

from isoprune.signals.modes import in_eval_mode
from isoprune.types import IsopruneError, Splits

LOOKED_AT = 256  # validation samples: a network that is trained is told from chance on fewer


def check_trained(model: nn.Module, splits: Splits, name: str) -> None:
    """Raise if the network's accuracy is that of chance: of always naming the most frequent class.

    Two standard errors of a frequency are allowed for.

    Raises:
        IsopruneError: With both numbers, and what may be the reason.
    """
    targets = splits.validation.targets
    chosen = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))[:LOOKED_AT]
    right = 0
    with torch.no_grad(), in_eval_mode(model):
        for inputs, wanted in splits.validation.batches(chosen.split(32)):
            right += int((model(inputs).argmax(1) == wanted).sum())
    n = len(chosen)
    accuracy, chance = right / n, int(targets[chosen].bincount().max()) / n
    if accuracy > chance + 2 * math.sqrt(chance * (1 - chance) / n):
        return
    raise IsopruneError(
        f"{name} classifies {accuracy:.1%} of {n} validation samples, and the most frequent class is "
        f"{chance:.1%} of them: on this data it is no trained network. Give the weights, or the size, the "
        "normalisation and the order of classes that it was trained with; or train it first: "
        "--dense-epochs 10."
    )
