"""Optimal brain damage of whole channels, by the diagonal of the Fisher matrix."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.signals.own_labels import with_own_labels
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "gradients",
    grains=GRAINS,
    comparable=True,
    label="C-OBD",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def c_obd(signals: Signals, units: Sequence[Units], *, generator: Generator, samples: int = 64) -> Scores:
    r"""Rise of the loss without each unit by a diagonal curvature.

    :math:`s_i = \frac{1}{2} \sum_{j \in i} w_j^2 F_{jj}`. F is the Fisher matrix under labels that the
    network draws itself (for other losses than cross-entropy :math:`J^\top J` of its outputs): what `obd`
    has in the mean over draws, for one backward pass a sample and without labels. Channels that several
    layers make get the mean over those.

    Args:
        samples: How many labels are drawn.

    Cost: a backward pass a sample. Memory: gradients of several samples, up to 1 GiB.
    """
    diagonal = with_own_labels(signals, samples, generator).fisher_diagonal
    values = {name: signals.weights[name].square() * f for name, f in diagonal.items()}
    return score_units(values, units, lambda total, _: total / 2)
