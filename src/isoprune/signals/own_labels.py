"""Targets that the network draws itself: products of gradients by them have the Fisher matrix as mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from isoprune.graph.outputs import tensors_in
from isoprune.signals.signals import Signals
from isoprune.types import Task
from isoprune.types.task import cross_entropy_loss, has_cross_entropy, samples_in


def drawn_classes(log_p: Tensor, generator: Generator) -> Tensor:
    """Return a class for every sample (and place), drawn by log p [samples, classes, ...]."""
    at = torch.rand(len(log_p), *log_p.shape[2:], generator=generator, dtype=torch.float64)[:, None]
    drawn = (log_p.detach().exp().double().cumsum(1).cpu() < at).sum(1)
    return drawn.clamp_max(log_p.shape[1] - 1).to(log_p.device)


def drawn_signs(t: Tensor, generator: Generator) -> Tensor:
    """Return 1 or -1 for every number of an output."""
    signs = torch.rand(t.shape, generator=generator, dtype=torch.float64) < 0.5
    return torch.where(signs, 1.0, -1.0).to(t)


def by_classes(task: Task, outputs: Any) -> bool:
    """Whether the outputs say how probable classes are."""
    return has_cross_entropy(task) and isinstance(outputs, Tensor) and outputs.dim() > 1


def with_own_labels(signals: Signals, samples: int, generator: Generator) -> Signals:
    r"""Return the signals of the same network by the slopes that its Fisher matrix is made of.

    For a classification by cross-entropy these are of :math:`-\log p(y | x)`, y drawn from the network's own
    p; for other tasks of the outputs times random signs, whose products have :math:`J^\top J` as their mean.
    No label is read.
    """
    batches: list[tuple[Any, ...]] = []
    classes = True
    for inputs in signals.chunks(samples):
        with torch.no_grad():
            outputs = signals.forward(inputs)
        classes = by_classes(signals.task, outputs)
        if classes:
            batches.append((inputs, drawn_classes(torch.log_softmax(outputs, 1), generator)))
        else:
            batches.append((inputs, [drawn_signs(t, generator) for t in tensors_in(outputs)]))
    loss = cross_entropy_loss if classes else _signed
    return replace(signals, batches=batches, task=Task(loss=loss, name="own labels", samples=_samples))


def _signed(outputs: Any, batch: Any) -> Tensor:
    pairs: Iterator[tuple[Tensor, Tensor]] = zip(tensors_in(outputs), batch[1], strict=True)
    return torch.stack([(t * signs).sum() for t, signs in pairs]).sum() / _samples(batch)


def _samples(batch: Any) -> int:
    return samples_in(batch[0])
