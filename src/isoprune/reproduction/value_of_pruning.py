"""The runs of equal multiply-adds in the study of the value of pruning, which no grid can express."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

from msgspec import structs

from isoprune.experiment.config import Experiment
from isoprune.experiment.grid import Study
from isoprune.reproduction.dry_runs import sizes, train_samples


def with_equal_flops(study: Study, image_classes: int) -> Study:
    """Return the study with the runs of setup SX-B: P30/kF90 of the paper, k the speed-up.

    Of the runs that are retrained at the dense rate, the dense training is cut to its k-th part: K1 F2 / F1
    epochs, to the step where the size of the training data is known, else to whole epochs. Dense training and
    retraining then take as many multiply-adds as training the pruned shape for all epochs.
    """
    known: dict[Any, Fraction] = {}
    added = []
    for experiment in study.experiments:
        if experiment.retrain.lr == 0.1 and experiment.repair.name != "scratch":
            key = (experiment.prune.ratio, experiment.prune.scope)
            if key not in known:
                dense, pruned = sizes(experiment, image_classes)
                known[key] = Fraction(pruned, dense)
            added.append(_cut(experiment, known[key]))
    return dataclasses.replace(study, experiments=(*study.experiments, *added))


def _cut(experiment: Experiment, part: Fraction) -> Experiment:
    length = experiment.dense.epochs * part
    train = train_samples(experiment)
    if train is None:
        dense = structs.replace(experiment.dense, epochs=max(1, round(length)))
    else:
        per_epoch = math.ceil(train / experiment.dense.batch)
        steps = max(1, round(length * per_epoch))
        dense = structs.replace(experiment.dense, epochs=math.ceil(steps / per_epoch), steps=steps)
    return structs.replace(experiment, steps=(dense, *experiment.steps[1:]))
