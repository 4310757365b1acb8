"""How far outputs, and probabilities, are from the dense network's."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from isoprune.graph.outputs import tensors_in
from isoprune.methods.measures.metrics import SAMPLES
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.task import has_cross_entropy


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


@method("measure", "data", "dense", source="Kullback & Leibler, 1951; Hinton, Vinyals & Dean, 2015")
def output_kl(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Kullback-Leibler divergence from the dense network's classes, :math:`\text{KL}(p_{dense} \,\|\, p)`.

    ``output_kl``, the mean over samples (and places, if there are some) in nats. No label is read.

    Cost: a forward of the samples through both networks. Memory: a forward of a batch through each network.

    Raises:
        IsopruneError: If the task's loss is no cross-entropy, or the outputs are no logits of classes.
    """
    if not has_cross_entropy(signals.task):
        raise IsopruneError(
            f"output_kl compares probabilities of classes, and the loss of the task {signals.task.name!r} is "
            "no cross-entropy. Take 'output_error'."
        )
    dense, total, places = signals.of(pruned.dense), 0.0, 0
    with torch.no_grad():
        for inputs in signals.chunks(samples):
            q, p = (_log_probabilities(each.forward(inputs)) for each in (signals, dense))
            divergence = (p.exp() * (p - q)).sum(1)
            total, places = total + float(divergence.sum()), places + divergence.numel()
    return {"output_kl": total / places}


def _log_probabilities(outputs: object) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.dim() < 2 or outputs.shape[1] < 2:
        came = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise IsopruneError(
            f"output_kl compares logits [samples, classes, ...], and the outputs are of {came}. "
            "Take 'output_error'."
        )
    return outputs.double().log_softmax(1)
