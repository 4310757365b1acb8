"""How far the network's outputs are from the dense network's."""

from __future__ import annotations

import torch
from torch import Generator

from isoprune.graph.outputs import tensors_in
from isoprune.methods.measures.accuracy import SAMPLES
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@method("measure", "data", "dense")
def output_error(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Relative error of the outputs, :math:`\|y - y_{dense}\|_F / \|y_{dense}\|_F`.

    ``output_error``, over all numbers in the outputs of all samples. Outputs of zero are 1 off.

    Cost: a forward of the samples through both networks. Memory: a forward of a batch through each network.

    Raises:
        IsopruneError: If the two networks' outputs differ in number or shape.
    """
    dense, off, size = signals.of(pruned.dense), 0.0, 0.0
    with torch.no_grad():
        for inputs in signals.chunks(samples):
            mine, theirs = (list(tensors_in(each.forward(inputs))) for each in (signals, dense))
            if [t.shape for t in mine] != [t.shape for t in theirs]:
                raise IsopruneError(
                    "output_error compares outputs, and those of the pruned and the dense network differ in "
                    "number or shape on the same inputs. Leave this measure out."
                )
            for y, want in zip(mine, theirs, strict=True):
                off += float((y.double() - want.double()).square().sum())
                size += float(want.double().square().sum())
    if size == 0:
        raise IsopruneError("output_error is relative, and the dense network's outputs are all zero.")
    return {"output_error": (off / size) ** 0.5}
