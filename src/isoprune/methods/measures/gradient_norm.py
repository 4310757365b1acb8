"""The norm of the loss's gradient."""

from __future__ import annotations

from torch import Generator

from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.free import flat, free_weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method("measure", "data", "labels", "gradients", source="Evci, Ioannou, Keskin & Dauphin, AAAI 2022")
def gradient_norm(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 256
) -> dict[str, float]:
    r"""Norm of the gradient of the mean loss, :math:`\|\nabla_\theta L\|_2`: the speed of the first step.

    ``log_gradient_norm``, to base ten, over the weights that retraining can change, in eval mode.

    Cost: a forward and a backward of the samples. Memory: the graph of a batch, and two gradients of the
    weights, one in float64.
    """
    few = signals.taking(samples)
    return {"log_gradient_norm": log10(float(flat(few.gradients, free_weights(few)).norm()))}
