"""The labels of a classification."""

from __future__ import annotations

import torch
from torch import Tensor

from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.task import reads_classes


def class_labels(signals: Signals) -> Tensor:
    """Return the labels of all samples, [samples].

    Raises:
        IsopruneError: If the task is no classification with one label a sample, or all samples are of one
            class.
    """
    found = []
    for batch in signals.data():
        if not reads_classes(signals.task, batch) or batch[1].dim() != 1:
            raise IsopruneError(
                f"This measure tells classes apart, and the task {signals.task.name!r} is no classification "
                "with one label a sample. Leave it out."
            )
        found.append(batch[1])
    labels = torch.cat(found).long()
    if len(labels.unique()) < 2:
        raise IsopruneError(
            f"This measure tells classes apart, and all {len(labels)} samples are of one. Pass shuffled data."
        )
    return labels
