"""Whether the tangent kernel tells apart what the labels do."""

from __future__ import annotations

from torch import Generator
from torch.nn.functional import one_hot

from isoprune.methods.measures.alignment import alignment, sample_kernel
from isoprune.methods.measures.labels import class_labels
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method("measure", "data", "labels", "gradients", source="Cortes, Mohri & Rostamizadeh, JMLR 2012")
def tangent_labels(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 64
) -> dict[str, float]:
    r"""Centred alignment of the tangent kernel with the labels' :math:`Y Y^\top`: what is learned first.

    ``tangent_label_alignment``, in [0, 1]. The kernel between samples is the mean over outputs c of
    :math:`G_c G_c^\top`, :math:`G_c = \partial y_c / \partial \theta`; Y are the labels, one-hot.

    Cost: a backward of each sample for each output.

    Memory: the gradients in float64, some tensors at a time where they take more than 1 GiB.

    Raises:
        IsopruneError: If the labels are no classes, or all of one.
    """
    few = signals.taking(samples)
    Y = one_hot(class_labels(few)).double()
    return {"tangent_label_alignment": alignment(sample_kernel(few, samples), Y @ Y.mT)}
