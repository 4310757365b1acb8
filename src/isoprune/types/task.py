"""The task: what a batch means. Inputs, loss, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Inputs = Callable[[Any], Any]  # batch -> what the forward takes: a tensor, a tuple of arguments, a dict
Loss = Callable[[Any, Any], Tensor]  # outputs, batch -> scalar, the mean over the batch's samples
Metric = Callable[[Any, Any], Any]  # outputs, batch -> scalar, the mean over the batch's samples


def _first(batch: Any) -> Any:
    return batch[0]


def _cross_entropy(outputs: Any, batch: Any) -> Tensor:
    return cross_entropy(outputs, batch[1])


def _accuracy(outputs: Tensor, batch: Any) -> Tensor:
    return (outputs.argmax(1) == batch[1]).double().mean()


@dataclass(frozen=True)
class Task:
    """What a batch means; the default is the classification of (inputs, labels) by cross-entropy.

    Attributes:
        inputs: batch -> what the forward takes: a tensor, a tuple of arguments or a dict of keywords.
        loss: (outputs, batch) -> scalar tensor, the mean over the samples of the batch.
        metrics: Name -> (outputs, batch) -> number, the mean over the samples of the batch. The first one is
            what a training is judged by; higher is better.
        name: How tables call it.
    """

    inputs: Inputs = _first
    loss: Loss = _cross_entropy
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {"accuracy": _accuracy})
    name: str = "own"


CLASSIFICATION = Task(name="classification")


def samples_in(batch: Any) -> int:
    """Return how many samples a batch holds: the first dimension of its first tensor, or a list's length."""
    from torch.utils._pytree import tree_leaves

    if isinstance(batch, list) and batch and not isinstance(batch[0], torch.Tensor):
        return len(batch)
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()), 1)
