"""Retraining at a large and at a small learning rate: the mystery of the paper, and its answer."""

from __future__ import annotations

from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction, Value
from isoprune.reproduction.judges import above, within

_LARGE, _SMALL = "LR 1e-2", "LR 1e-3"
_ROWS = {"none": "L1", "orthp": "L1 + OrthP", "scratch": "scratch"}
_TRAINABILITY = Value("trainability accuracy, %", "trainability_accuracy")
_JSV = Value("mean JSV after retraining", "retrained.jsv.mean", percent=False, log=True)
_TPP = "TPP, arXiv 2207.12534, table 1"


def _place(flat: Flat) -> Place | None:
    row = _ROWS.get(str(flat.get("repair.name", "none")))
    rates = {1e-2: _LARGE, 1e-3: _SMALL}
    column = rates.get(flat["retrain.lr"])
    if row is None or column is None:
        return None
    return Place(f"{flat['model.name']} {flat.get('model.activation')}", row, column)


def _published(ratio: str, large: tuple[float, float], small: tuple[float, float]) -> Published:
    title = f"ResNet56 on CIFAR-10, ratio {ratio} (another network; the MLP's numbers are not at hand)"
    return Published(title, _TPP, (_LARGE, _SMALL), {"L1": (large, small)}, comparable=False)


LR_EFFECT = Reproduction(
    name="lr-effect",
    title="The effect of the retraining rate",
    question="Why does a pruned network retrain so much better with a large learning rate, and does the "
    "effect outlive the repair of its dynamical isometry?",
    columns="rate",
    claims=(
        Claim(
            "Without repair, retraining at 1e-2 ends above retraining at 1e-3 in the same number of epochs.",
            "2105.05916",
            above((("L1", _LARGE), ("L1", _SMALL))),
        ),
        Claim(
            "After OrthP, the linear network ends level (within 0.5 points) at both rates.",
            "2105.05916",
            within((("L1 + OrthP", _LARGE), ("L1 + OrthP", _SMALL)), margin=0.5, panels=("mlp_7 linear",)),
        ),
        Claim(
            "On the linear network OrthP ends above no repair, at both rates.",
            "2105.05916",
            above(("L1 + OrthP", "L1"), panels=("mlp_7 linear",)),
        ),
        Claim(
            "Without repair the large rate trains faster: its trainability accuracy is higher.",
            "2301.05219",
            above((("L1", _LARGE), ("L1", _SMALL)), value=_TRAINABILITY),
        ),
        Claim(
            "It recovers isometry: after retraining at 1e-2 the mean JSV is higher than after 1e-3.",
            "2105.05916",
            above((("L1", _LARGE), ("L1", _SMALL)), value=_JSV, panels=("mlp_7 linear",)),
        ),
        Claim(
            "A pruned network, repaired, ends above its shape from scratch (linear network, both rates).",
            "2105.05916",
            above(("L1 + OrthP", "scratch"), panels=("mlp_7 linear",)),
        ),
    ),
    place=_place,
    published={
        "mlp_7 linear": _published("0.7", (92.26, 0.17), (91.77, 0.11)),
        "mlp_7 relu": _published("0.9", (86.75, 0.31), (87.57, 0.09)),
    },
    notes=(
        "From scratch, the pruned shape is trained for as many epochs as the others are retrained, no more.",
    ),
)
