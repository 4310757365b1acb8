"""Whether the tangent kernel is still that of the dense network."""

from __future__ import annotations

from torch import Generator

from isoprune.methods.measures.alignment import alignment, sample_kernel
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method(
    "measure",
    "data",
    "dense",
    "gradients",
    source="Cortes, Mohri & Rostamizadeh, JMLR 2012; Liu & Zenke, ICML 2020",
)
def tangent_dense(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 32
) -> dict[str, float]:
    r"""Centred alignment of the tangent kernel with the dense network's: whether both learn alike.

    ``tangent_dense_alignment``, in [0, 1]. The kernels between samples are those of `tangent_labels`.

    Cost: a backward of each sample for each output, through both networks.

    Memory: the gradients in float64, some tensors at a time where they take more than 1 GiB.
    """
    few = signals.taking(samples)
    mine, dense = sample_kernel(few, samples), sample_kernel(few.of(pruned.dense), samples)
    return {"tangent_dense_alignment": alignment(mine, dense)}
