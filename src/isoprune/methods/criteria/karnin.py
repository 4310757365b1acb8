"""Sensitivity along a training (Karnin)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.training.history import History
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "history",
    grains=GRAINS,
    comparable=True,
    label="Karnin",
    source="Karnin, IEEE Transactions on Neural Networks, 1990",
)
def karnin(
    signals: Signals, units: Sequence[Units], *, generator: Generator, history: History | None = None
) -> Scores:
    r"""Rise of the loss, read off the training: :math:`-\sum_t g_t \Delta w_t\, w / (w - w_0)`.

    The sum is what the weight's moves from its start :math:`w_0` have taken off the loss; the factor carries
    it on to zero. With steps :math:`\Delta w = -\eta g` it is the paper's
    :math:`\sum_t (\Delta w_t)^2\, w / (\eta (w - w_0))`. A weight that has not moved says nothing: zero. Of
    units of several weights the sum; of channels that several layers make, the mean over those.

    Args:
        history: Made of the network before its training, and watching its optimizer:
            ``history = History(model); history.watch(optimizer)``; then
            ``criterion=functools.partial(karnin, history=history)``.

    Cost: none after the training. Memory: two copies of the weights along it.

    Raises:
        IsopruneError: Without a history, or with one of another network.
    """
    if history is None:
        raise IsopruneError(
            "The criterion 'karnin' reads a training's history, and there is none. Before training: history "
            "= isoprune.training.History(model); history.watch(optimizer). Then criterion=functools.partial("
            "CRITERIA['karnin'], history=history), from isoprune.methods.criteria."
        )
    found = {}
    for name, weight in signals.weights.items():
        start = history.start.get(name)
        if start is None or start.shape != weight.shape:
            raise IsopruneError(
                f"The history is of another network: it does not know {name} of shape {tuple(weight.shape)}."
            )
        way = (weight - start.to(weight)).double()
        part = torch.where(way != 0, weight.double() / way.masked_fill(way == 0, 1.0), 0.0)
        found[name] = history.gained[name].to(weight.device) * part
    return score_units(found, units, lambda total, _: total)
