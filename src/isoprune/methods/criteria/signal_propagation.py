"""Connection sensitivity at an isometric initialisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.linalg import polar_factor
from isoprune.methods.criteria.snip import snip
from isoprune.methods.layers.weights import rewritten
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    comparable=True,
    label="Signal propagation",
    source="Lee, Ajanthan, Gould & Torr, ICLR 2020, arXiv 1906.06307",
)
def signal_propagation(
    signals: Signals, units: Sequence[Units], *, generator: Generator, gain: int | float | None = None
) -> Scores:
    r"""`snip` at an isometric network: :math:`\sum_{j \in i} |\partial L / \partial m_j|` at Q in place of W.

    Q is ``gain`` times the partial isometry nearest to the filter matrix W, as `polar` makes it. Of weights
    drawn from a normal distribution that is the orthogonal initialisation of the paper, and scores do not
    depend on how large the weights of a layer are: gradients reach all layers alike. The network's own
    weights stay: for the paper's procedure make it isometric before (``repair(network, "polar")``), train
    after ``repair(pruned, "approximate_isometry")``.

    Args:
        gain: None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.

    Cost: that of `snip`, and an SVD of every filter matrix. Memory: a copy of the weights, and a gradient.

    Raises:
        IsopruneError: If a weight holds NaN or infinity; if ``gain`` is None and the forward cannot be
            traced.
    """
    isometric = rewritten(signals.network, lambda _, W, __: polar_factor(W), gain=gain)
    return snip(signals.of(isometric), units, generator=generator)
