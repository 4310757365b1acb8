"""Optimal brain damage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.methods.criteria.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    comparable=True,
    label="OBD",
    source="LeCun, Denker & Solla, NIPS 1989",
)
def obd(
    signals: Signals, units: Sequence[Units], *, generator: Generator, draws: int | None = None
) -> Scores:
    r"""Rise of the loss by its diagonal curvature: :math:`s_i = \frac{1}{2} \sum_{j \in i} h_{jj} w_j^2`.

    h is the diagonal of the Gauss-Newton matrix of the mean loss, which is never negative: the Hessian
    without the curvature of the network itself, as in the paper (which also neglects what couples the units
    of a layer; here that is exact). The gradient is taken for zero: the network is trained. Of channels that
    several layers make, the mean over those.

    Args:
        draws: None: exact, with as many backward passes of every sample as it has outputs. A number: so many,
            each along all outputs with drawn signs; the mean is the same.

    Cost: a backward pass of every sample for each of its outputs, or each of ``draws``. Memory: gradients
    of several samples, up to 1 GiB.

    Raises:
        IsopruneError: If ``draws`` is below 1, or one sample has more than 4,096 outputs.
    """
    if draws is not None and draws < 1:
        raise IsopruneError(f"draws is {draws}. Give 1 or more, or None for the exact diagonal.")
    h = signals.gauss_newton_diagonal(draws, generator)
    values = {name: signals.weights[name].square() * d for name, d in h.items()}
    return score_units(values, units, lambda total, _: total / 2)
