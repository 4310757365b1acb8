"""Optimal brain surgery of whole filters under Kronecker factors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Generator

from isoprune.methods.criteria.kronecker import kronecker_scores, of_rows
from isoprune.signals import Signals
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method


@method(
    "criterion",
    "data",
    "gradients",
    grains=("channel", "head", "filter"),
    updates_weights=True,
    comparable=True,
    label="Kron-OBS",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def kron_obs(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    damping: float = 1e-5,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each unit's filters, the others moved.

    :math:`\frac{1}{2} w_i^\top A w_i / [G^{-1}]_{ii}` of a filter, with the Fisher matrix of a layer
    taken as :math:`G \otimes A`: A of what its filters read, G of the slopes by what they make, under
    labels that the network draws itself. Of units of several filters of a layer S, :math:`\frac{1}{2}
    \mathrm{tr}\, W_S A W_S^\top ([G^{-1}]_{SS})^{-1}`. The weights that stay become those with the least
    :math:`\mathrm{tr}\, D A D^\top G` where the others are zero, for all filters that go together (of one
    filter :math:`D = -G^{-1} e_i w_i^\top / [G^{-1}]_{ii}`); channels are made up for where they are read.
    Channels that several layers make get the mean over those. A tensor without factors (a table, a
    recurrent layer) is taken with the diagonal of its Fisher matrix, and gets no update.

    Args:
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        damping: Added to the Fisher matrix, by a part of its root in either factor.
        gigabytes: What the factors may take; more is refused before anything is computed.

    Cost: a forward and a backward of the samples; an inverse of G. Memory: A, G and its inverse, in
    float64.
    """
    how = {"samples": samples, "places": places, "damping": damping, "gigabytes": gigabytes}
    value = partial(of_rows, others_move=True)
    return kronecker_scores(signals, units, value, generator=generator, **how)
