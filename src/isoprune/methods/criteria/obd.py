"""Optimal brain damage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.signals.diagonals import outputs_of_sample
from isoprune.signals.work import WORK, forward_work, gradient_work, number_of_samples, require_work
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
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    draws: int | None = None,
    work: float = WORK,
) -> Scores:
    r"""Rise of the loss by its diagonal curvature: :math:`s_i = \frac{1}{2} \sum_{j \in i} h_{jj} w_j^2`.

    h is the diagonal of the Gauss-Newton matrix of the mean loss, which is never negative: the Hessian
    without the curvature of the network itself, as in the paper (which also neglects what couples the units
    of a layer; here that is exact). The gradient is taken for zero: the network is trained. Of channels that
    several layers make, the mean over those.

    Args:
        draws: None: exact, with as many backward passes of every sample as it has outputs. A number: so many,
            each along all outputs with drawn signs; the mean is the same.
        work: Multiply-adds that it may take; more is refused before anything is computed.

    Cost: a backward pass of every sample for each of its outputs, or each of ``draws``. Memory: gradients
    of several samples, up to 1 GiB.

    Raises:
        IsopruneError: If ``draws`` is below 1, one sample has more than 4,096 outputs, or it takes more
            multiply-adds than ``work``.
    """
    if draws is not None and draws < 1:
        raise IsopruneError(f"draws is {draws}. Give 1 or more, or None for the exact diagonal.")
    _require_work(signals, draws, work)
    h = signals.gauss_newton_diagonal(draws, generator)
    values = {name: signals.weights[name].square() * d for name, d in h.items()}
    return score_units(values, units, lambda total, _: total / 2)


def _require_work(signals: Signals, draws: int | None, work: float) -> None:
    """Refuse what would take too long, with the draws or samples that would not."""
    outputs, samples = outputs_of_sample(signals), number_of_samples(signals)
    loss, slope = forward_work(signals), gradient_work(signals)

    def needed(passes: int, samples: int = samples) -> float:
        return samples * (loss + passes * slope)

    fit = int((work / samples - loss) // slope)
    if fit >= 1:
        remedy = f"{'Lower' if draws else 'Give'} draws (at {fit} it is {needed(fit):.0e})"
    else:
        few = max(int(work // needed(1, 1)), 1)
        remedy = f"Give draws=1 and fewer samples (of {few} it is {needed(1, few):.0e})"
    passes = f"each of {draws or outputs:,} {'draws' if draws else 'outputs'}"
    require_work(
        f"A backward pass of {samples:,} samples for {passes} takes", needed(draws or outputs), work, remedy
    )
