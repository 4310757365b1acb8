"""What flows through the network when nothing cancels."""

from __future__ import annotations

import math

from torch import Generator

from isoprune.methods.criteria.synflow import Flow
from isoprune.methods.measures.decades import log10
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method(
    "measure",
    source="Tanaka, Kunin, Yamins & Ganguli, NeurIPS 2020; Abdelfattah, Mehrotra, Dudziak & Lane, ICLR 2021",
)
def synflow_score(pruned: Pruned, signals: Signals, *, generator: Generator) -> dict[str, float]:
    r"""Synaptic flow of all weights, :math:`\sum_j |\theta_j|\, \partial R / \partial |\theta_j|`.

    ``log_synflow``, to base ten; R is the sum of the outputs for an input of ones when weights are their
    absolute values and biases zero, as the criterion `synflow` has it. In a chain of L layers, L R.

    Cost: a forward and a backward of one sample. Memory: a copy of the weights and their gradients in
    float64.
    """
    flow = Flow(signals)
    if (power := flow.power()) is None:
        return {"log_synflow": -math.inf}
    share = sum(float(part.sum()) for part in flow.scores().values())
    return {"log_synflow": log10(float(flow.total(power).detach())) - power + log10(share)}
