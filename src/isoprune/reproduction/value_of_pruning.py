"""A pruned network against its shape trained from scratch, under every setup of a fair comparison."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

from msgspec import structs

from isoprune.experiment.config import Experiment
from isoprune.experiment.grid import Study
from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction, ratio_of
from isoprune.reproduction.judges import above
from isoprune.reproduction.rehearsal import sizes, train_samples

_SCRATCH = "scratch"
_EARLY = "pruned at 1/4, LR 1e-2"
_MIDDLE = "pruned at 1/2, LR 1e-3"
_LATE = "pruned at 3/4, LR 1e-4"
_SX_A = "pruned at 1/4, LR 1e-1"
_SX_B = "pruned at 1/4 of its share of FLOPs, LR 1e-1"
_BY_RATE = {1e-2: _EARLY, 1e-3: _MIDDLE, 1e-4: _LATE}
_RATIOS = ("0.1", "0.3", "0.5", "0.7", "0.9", "0.95")


def _place(flat: Flat) -> Place | None:
    panel, column = str(flat["model.name"]), ratio_of(flat)
    if flat.get("repair.name", "none") == "scratch":
        return Place(panel, _SCRATCH, column)
    if flat["retrain.lr"] != 0.1:
        row = _BY_RATE.get(flat["retrain.lr"])
    else:
        # Equal epochs: a quarter of them before pruning. Fewer: equal multiply-adds.
        quarter = flat.get("dense.steps") is None and 3 * flat["dense.epochs"] >= flat["retrain.epochs"]
        row = _SX_A if quarter else _SX_B
    return None if row is None else Place(panel, row, column)


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


VALUE_OF_PRUNING = Reproduction(
    name="value-of-pruning",
    title="The value of pruning",
    question="Is a pruned network better than the same small network trained from scratch?",
    claims=(
        Claim(
            "Pruned late and retrained at a small rate, as is common, pruning looks worthless: from scratch "
            "is above it, from a ratio of 0.5 on.",
            "2301.05219, tables 4 and 5: 82.90 against 79.70 at 0.5",
            above((_SCRATCH, _LATE), columns=("0.5", "0.7", "0.9", "0.95")),
        ),
        Claim(
            "With equal epochs in all (SX-A) and the dense rate, pruning is above scratch at every ratio.",
            "2301.05219, tables 4 and 5",
            above((_SX_A, _SCRATCH)),
        ),
        Claim(
            "With equal multiply-adds in all (SX-B) too, up to a ratio of 0.9.",
            "2301.05219, tables 4 and 5",
            above((_SX_B, _SCRATCH), columns=("0.1", "0.3", "0.5", "0.7", "0.9")),
        ),
        Claim(
            "The rate decides: in the same epochs, pruned at a quarter and retrained at 1e-1 is above 1e-2.",
            "2301.05219, tables 4 and 5",
            above((_SX_A, _EARLY)),
        ),
        Claim(
            "The later pruned and the smaller the rate, the worse, from a ratio of 0.5 on.",
            "2301.05219, tables 4 and 5",
            above((_EARLY, _MIDDLE), (_MIDDLE, _LATE), columns=("0.5", "0.7", "0.9", "0.95")),
        ),
    ),
    place=_place,
    published=dict.fromkeys(
        ("resnet34", "resnet_small"),
        Published(
            "ResNet34 on ImageNet100, 120 epochs in all, dense 84.56",
            "arXiv 2301.05219, tables 4 and 5",
            _RATIOS,
            {
                _SCRATCH: (83.68, 83.31, 82.90, 82.45, 79.37, 76.67),
                _EARLY: (83.88, 84.00, 83.29, 82.61, 80.41, 77.64),
                _MIDDLE: (84.21, 83.87, 82.90, 81.24, 77.29, 70.53),
                _LATE: (84.09, 82.47, 79.70, 74.87, 49.23, 29.89),
                _SX_A: (85.27, 85.37, 85.48, 83.83, 81.56, 79.57),
                _SX_B: (85.45, 85.06, 84.85, 83.64, 79.65, 75.79),
            },
        ),
    ),
    complete=with_equal_flops,
    image_classes=100,
    notes=("The paper’s names: P30F90, P60F60, P90F30 for pruned at a quarter, half and three quarters.",),
)
