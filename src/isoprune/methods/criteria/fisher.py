"""Fisher information of a gate on each unit."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor
from torch.func import vmap

from isoprune.pruning.unit_scores import score_units
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
    label="Fisher",
    source="Theis, Korshunova, Tejani & Huszar, 2018, arXiv 1801.05787",
)
def fisher(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Expected rise of loss without a unit: :math:`s_i = \frac{1}{2N} \sum_n (\sum_{j \in i} w_j g_{nj})^2`.

    :math:`g_n` is the gradient of sample n's loss, so the inner sum is its derivative with respect to a gate
    on the unit. In the paper the gate is on the filter's output instead of its weights (the same where a
    filter has no bias). Channels that several layers make get the mean over those layers.

    Cost: one backward pass per sample. Memory: gradients of several samples, up to 1 GiB.
    """

    def of_sample(gradients: dict[str, Tensor]) -> Scores:
        sensitivities = {name: signals.weights[name] * g for name, g in gradients.items()}
        return score_units(sensitivities, units, lambda total, _: total.square())

    mean = signals.sample_mean(lambda found: {k: s.sum(0) for k, s in vmap(of_sample)(found).items()})
    return {name: score / 2 for name, score in mean.items()}
