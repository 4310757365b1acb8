"""Optimal brain surgery by the Fisher matrix: of the network's own outputs, or empirical, of the labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.methods.criteria.surgery import Outer
from isoprune.signals import Signals
from isoprune.signals.own_labels import with_own_labels
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "gradients",
    grains=GRAINS,
    updates_weights=True,
    comparable=True,
    label="OBS",
    source="Hassibi & Stork, NIPS 1992",
)
def obs(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 64,
    block: int | None = None,
    damping: float = 1e-5,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each unit, :math:`w_i^2 / 2 [H^{-1}]_{ii}`, and what makes up for it.

    H is the Fisher matrix under labels that the network draws itself (for other losses than cross-entropy
    :math:`J^\top J` of its outputs): the positive part of the Hessian, and all of it where the data are
    fitted. It has a block for every weight tensor, or for so many neighbours in it; with ``block=1`` it is
    diagonal, and nothing can make up for a weight. Of units of several weights
    :math:`\frac{1}{2} w_Q^\top ([H^{-1}]_{QQ})^{-1} w_Q`; of channels that several tensors make, the mean
    over those. The weights that stay become those with the least :math:`\delta^\top H \delta` where the
    others are zero (of one weight :math:`\delta = -w_i H^{-1} e_i / [H^{-1}]_{ii}`). A weight that is zero
    already makes up for nothing; channels are made up for where they are read.

    Args:
        samples: How many outputs are drawn.
        block: How many neighbours a block covers; None: the tensor.
        damping: Added to the diagonal; in the paper 1e-8 to 1e-4.
        gigabytes: What gradients may take. Where they take more they are gathered in several passes; where
            one tensor's do, it is refused before anything is computed.

    Cost: a backward pass a sample, for the scores and again for the update. Memory: ``samples``
    gradients, of some tensors at a time where they take more than ``gigabytes``.
    """
    own = with_own_labels(signals, samples, generator)
    outer = Outer(own, samples, block, damping, gigabytes)
    found = outer.scores(units)
    return UpdatingScores({name: s / 2 for name, s in found.items()}, found.update)


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    updates_weights=True,
    comparable=True,
    label="WoodFisher",
    source="Singh & Alistarh, NeurIPS 2020, arXiv 2004.14340",
)
def woodfisher(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 64,
    block: int | None = None,
    damping: float = 1e-5,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each unit, :math:`w_i^2 / [F^{-1}]_{ii}`, and what makes up for it.

    :math:`F = \lambda I + \frac{1}{N} \sum_n g_n g_n^\top` of single samples' gradients, a block for every
    weight tensor or for so many neighbours in it. Of units of several weights
    :math:`w_Q^\top ([F^{-1}]_{QQ})^{-1} w_Q`; of channels that several tensors make, the mean over those.
    The weights that stay become those with the least :math:`\delta^\top F \delta` where the others are zero;
    in the paper each lost weight is made up for by itself, and what that gives other lost ones is dropped.
    Its recursion for the inverse is here one system of [samples, samples]. A weight that is zero already
    makes up for nothing; channels are made up for where they are read.

    Args:
        samples: N; in the paper 400 to 1,000 mini-batches.
        block: How many neighbours a block covers (2,000 and more in the paper); None: the tensor.
        damping: :math:`\lambda`.
        gigabytes: What gradients may take. Where they take more they are gathered in several passes; where
            one tensor's do, it is refused before anything is computed.

    Cost: a backward pass a sample, for the scores and again for the update. Memory: ``samples``
    gradients, of some tensors at a time where they take more than ``gigabytes``.
    """
    return Outer(signals, samples, block, damping, gigabytes).scores(units)
