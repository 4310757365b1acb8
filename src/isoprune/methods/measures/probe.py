"""A short training, and what it reaches."""

from __future__ import annotations

import math

import torch
from torch import Generator

from isoprune.methods.schedules import one_cycle
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.signals.samples import cut, in_batches
from isoprune.training import Training, evaluate, fit
from isoprune.types import Data, IsopruneError
from isoprune.types.method import method


@method("measure", "data", "labels", "gradients", source="Li et al., JMLR 2018, arXiv 1603.06560")
def probe(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    samples: int = 1000,
    lr: float = 0.02,
    images: int = 2000,
    batch: int = 50,
) -> dict[str, float]:
    r"""Accuracy after a short training: the honest baseline, which any other measure must beat at its cost.

    ``probe_accuracy`` and ``probe_loss`` of a copy after SGD (momentum 0.9, weight decay :math:`10^{-4}`,
    `one_cycle`) on ``samples`` samples. One half of the first ``images`` (drawn) judges; the other half is
    trained on, again and again where it is smaller than ``samples``.

    Args:
        samples: Trained on: 1 % of a retraining of 100,000, such as ten epochs of 10,000 images.
        lr: The peak of the rate.
        images: How many of the data are looked at.
        batch: Samples a step.

    Cost: a forward and a backward of ``samples``, and a forward of half of ``images``. Memory: ``images``
    inputs, a copy of the network, a gradient and a momentum of the weights, and the graph of ``batch``
    samples.

    Raises:
        IsopruneError: With fewer than two images, if the task measures no accuracy, or if training diverges.
    """
    if "accuracy" not in signals.task.measured:
        raise IsopruneError(
            f"probe judges by accuracy, and the task {signals.task.name!r} measures none. Leave it out."
        )
    each = []
    for part in signals.first(images):
        number = signals.task.samples(part)
        each += [cut(part, i, i + 1, number=number) for i in range(number)]
    if len(each) < 2 or samples < 1:
        raise IsopruneError(
            f"probe trains on some samples and judges by others: {len(each)} images and samples = {samples}. "
            "Give two images or more, and one sample or more."
        )
    halves = torch.randperm(len(each), generator=generator).chunk(2)
    train, judges = (in_batches([each[i] for i in half.tolist()], batch) for half in halves)
    steps = math.ceil(samples / batch)
    training = Training(math.ceil(steps / len(train)), lr, one_cycle(), steps=steps)
    trained = fit(pruned.model, Data(train), training, generator=generator, task=signals.task).model
    found = evaluate(trained, judges, task=signals.task)
    return {f"probe_{name}": found[name] for name in ("accuracy", "loss") if name in found}
