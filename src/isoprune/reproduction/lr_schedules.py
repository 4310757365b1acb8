"""Step and cosine schedules at two rates, and the shape from scratch."""

from __future__ import annotations

from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction, ratio_of
from isoprune.reproduction.judges import above

_STEP, _STEP_SMALL = "L1, step 1e-2", "L1, step 1e-3"
_COSINE, _COSINE_SMALL = "L1, cosine 1e-2", "L1, cosine 1e-3"
_SCRATCH = "scratch, step"
_RATIOS = ("0.3", "0.5", "0.7", "0.9")
_RESIDUAL, _PLAIN = "residual network", "plain network"
_NETWORKS = {"resnet56": _RESIDUAL, "resnet_small": _RESIDUAL, "vgg19": _PLAIN, "lenet_5": _PLAIN}


def _place(flat: Flat) -> Place | None:
    panel, column = _NETWORKS.get(flat["model.name"]), ratio_of(flat)
    if panel is None:
        return None
    if flat.get("repair.name", "none") == "scratch":
        return Place(panel, _SCRATCH, column)
    kind = {"step_decay": "step", "cosine": "cosine"}.get(flat["retrain.schedule.name"])
    rate = {1e-2: "1e-2", 1e-3: "1e-3"}.get(flat["retrain.lr"])
    return None if kind is None or rate is None else Place(panel, f"L1, {kind} {rate}", column)


LR_SCHEDULES = Reproduction(
    name="lr-schedules",
    title="Learning-rate schedules of retraining",
    question="How much of what a pruned network reaches is the schedule that it is retrained by?",
    claims=(
        Claim(
            "With a step schedule, 1e-2 ends above 1e-3 on the plain network, at every ratio.",
            "2301.05219, table 7",
            above((_STEP, _STEP_SMALL), panels=(_PLAIN,)),
        ),
        Claim(
            "On the residual network too, up to a ratio of 0.7.",
            "2301.05219, table 6",
            above((_STEP, _STEP_SMALL), panels=(_RESIDUAL,), columns=("0.3", "0.5", "0.7")),
        ),
        Claim(
            "At 1e-2 a cosine ends above a step schedule, up to a ratio of 0.7 (plain network).",
            "2301.05219, table 7",
            above((_COSINE, _STEP), panels=(_PLAIN,), columns=("0.3", "0.5", "0.7")),
        ),
        Claim(
            "Retrained at 1e-2, the plain network ends above its shape from scratch up to a ratio of 0.7.",
            "2301.05219, table 7",
            above((_STEP, _SCRATCH), panels=(_PLAIN,), columns=("0.3", "0.5", "0.7")),
        ),
        Claim(
            "At 0.9 the shape from scratch is ahead, in both networks.",
            "2301.05219, tables 6 and 7",
            above((_SCRATCH, _STEP), columns=("0.9",)),
        ),
    ),
    place=_place,
    published={
        _RESIDUAL: Published(
            "ResNet56 on CIFAR-10, dense 93.78",
            "arXiv 2301.05219, table 6; 2207.12534, table 1",
            _RATIOS,
            {
                _SCRATCH: ((93.16, 0.16), (92.78, 0.23), (92.11, 0.12), (88.36, 0.20)),
                _STEP_SMALL: ((93.43, 0.06), (93.12, 0.10), (91.77, 0.11), (87.57, 0.09)),
                _STEP: ((93.79, 0.06), (93.51, 0.07), (92.26, 0.17), (86.75, 0.31)),
            },
        ),
        _PLAIN: Published(
            "VGG19 on CIFAR-100, dense 74.02",
            "arXiv 2301.05219, table 7",
            _RATIOS,
            {
                _SCRATCH: ((72.84, 0.25), (71.88, 0.14), (70.79, 0.08), (66.52, 0.37)),
                _STEP_SMALL: ((73.67, 0.05), (72.04, 0.12), (70.21, 0.02), (64.72, 0.17)),
                _STEP: ((74.01, 0.18), (73.01, 0.22), (71.49, 0.14), (66.05, 0.04)),
                _COSINE_SMALL: ((73.69, 0.08), (72.10, 0.08), (69.96, 0.09), (63.93, 0.15)),
                _COSINE: ((74.39, 0.07), (73.51, 0.18), (71.78, 0.21), (65.70, 0.11)),
            },
        ),
    },
    notes=(
        "VGG19’s ratios are as our source gives them. Its removed weights (19.24, 51.01, 74.87, 90.98 %) are "
        "those of 0.1, 0.3, 0.5 and 0.7, as --scale paper --check shows: the column names may be one off.",
        "In our sizes every schedule ends at a hundredth of its first rate; in the paper, all end at 1e-4.",
        "From scratch is the dense network’s own recipe and epochs, drawn anew in the pruned shape.",
    ),
)
