"""What a training costs: samples and multiply-adds, the budget that trainings are compared at."""

from __future__ import annotations

import math


def samples_seen(train: int, *, batch: int, epochs: int, steps: int | None) -> int:
    """Return how many samples all steps take, when ``train`` of them make an epoch; see ``fit``."""
    per_epoch = math.ceil(train / batch)
    if steps is None or steps >= epochs * per_epoch:
        return epochs * train
    whole, rest = divmod(steps, per_epoch)
    return whole * train + rest * batch


def training_work(samples: int, *, flops: int, teacher: int = 0, estimated: int = 0) -> int:
    """Return what a training of ``samples`` takes.

    A forward pass costs ``flops`` multiply-adds a sample, the backward pass twice as much: one product for
    the gradient of the weights, one for that of the inputs. Distillation adds the ``teacher``'s forward pass;
    averaging the forward passes of the ``estimated`` samples that BatchNorm's statistics are taken on.
    """
    return samples * (3 * flops + teacher) + estimated * flops


def samples_estimated(train: int, *, batch: int) -> int:
    """Return on how many samples BatchNorm's statistics of averaged weights are taken.

    Whole batches of at most 1,024 samples, or one batch: the mean of a unit is then off by a thirty-second
    of its deviation, that of a map with many places by less. A training of few epochs spares most of a pass.
    """
    return min(train, max(_ESTIMATED // batch, 1) * batch)


_ESTIMATED = 1024
