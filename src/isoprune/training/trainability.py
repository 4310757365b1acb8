"""How fast a network learned: its mean accuracy at the first learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from isoprune.types import IsopruneError


def trainability_accuracy(history: Sequence[Mapping[str, Any]], *, epochs: int) -> float:
    r"""Return :math:`T = \frac{1}{N} \sum_{i \le N} \text{Acc}_i`, the mean validation accuracy.

    The sum runs over epochs 1 to N; N, here ``epochs``, is how many the first learning rate lasts.
    Two T can be compared only under one schedule. The state before the first step (epoch 0) does not count.

    Source: Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219.

    Raises:
        IsopruneError: If the history does not hold these epochs.
    """
    accuracies = [row["validation_accuracy"] for row in history if 1 <= row["epoch"] <= epochs]
    if epochs < 1 or len(accuracies) < epochs:
        raise IsopruneError(
            f"Trainability accuracy over {epochs} epochs cannot be read off a history of {len(accuracies)}. "
            "Give the number of epochs at the first learning rate, at least 1, or train longer."
        )
    return fmean(accuracies)
