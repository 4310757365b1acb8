"""BatchNorm statistics of the network as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.graph.cloning import copied
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.errors import IsopruneError
from isoprune.types.method import method
from isoprune.types.task import forward, samples_in
from isoprune.types.units import DEPTH, GRAINS

_CHUNK = 256  # inputs normalised together; large, as the variance within a chunk is what is averaged


@method("repair", "data", grains=(*GRAINS, DEPTH))
def batchnorm(pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 1024) -> nn.Module:
    """Return a copy whose BatchNorm layers hold the mean and variance of what they read on this data.

    Those of the pruned network are the dense network's, of activations that are gone: often the larger part
    of the accuracy lost. Weights, scales and shifts stay. Each layer normalises by the statistics of the
    inputs at hand (as in training, but without dropout), 256 at a time, whose mean and unbiased variance are
    averaged. A network without BatchNorm comes back as it is.

    Args:
        samples: How many inputs are looked at.

    Cost: one forward of ``samples`` inputs. Memory: a copy of the network; a forward of 256 inputs.
    """
    chunks = list(signals.chunks(samples, chunk=_CHUNK))
    repaired = copied(pruned.model)
    reestimate_(repaired, chunks)
    return repaired


@torch.no_grad()
def reestimate_(model: nn.Module, chunks: Sequence[Any]) -> None:
    """Put the statistics of ``chunks`` of inputs into every BatchNorm that tracks them, in place."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    before = [(norm, norm.training, norm.momentum, _count(norm)) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.training = True  # not .train(), which a mask on the layer would follow
        norm.momentum = None  # the average over all chunks, each for as much as any other
    try:
        for chunk in chunks:
            # One sample has no variance where a layer reads one value a channel of it.
            if samples_in(chunk) > 1 or len(chunks) == 1:
                forward(model, chunk)
    finally:
        for norm, training, momentum, seen in before:
            norm.training, norm.momentum = training, momentum
            norm.num_batches_tracked = seen
    for norm in norms:
        if not all(t is None or t.isfinite().all() for t in (norm.running_mean, norm.running_var)):
            raise IsopruneError(
                "The statistics of BatchNorm on these batches are NaN or infinite. Check the inputs, and the "
                "weights: training may have diverged."
            )


def _count(norm: _BatchNorm) -> Tensor | None:
    return None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
