"""Repairs and trainability-preserving pruning on a residual network: TPP's table 1."""

from __future__ import annotations

from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction, ratio_of
from isoprune.reproduction.judges import above

_RATIOS = ("0.3", "0.5", "0.7", "0.9", "0.95")
_LARGE, _SMALL = "LR 1e-2", "LR 1e-3"
_PENALTIES = {"kernel_orthogonality": "L1 + KernOrth", "orthogonal_convolution": "L1 + OrthConv"}
_REPAIRS = {"none": "L1", "orthp": "L1 + OrthP", "scratch": "scratch"}


def _place(flat: Flat) -> Place | None:
    rate = {1e-2: _LARGE, 1e-3: _SMALL}.get(flat["retrain.lr"])
    method = _method(flat)
    if rate is None or method is None:
        return None
    return Place(str(flat["model.name"]), f"{method}, {rate}", ratio_of(flat))


def _method(flat: Flat) -> str | None:
    if (penalty := flat.get("retrain.penalty.name")) is not None:
        return _PENALTIES.get(str(penalty))
    if flat.get("prune.train.epochs") is not None:
        penalty = flat.get("prune.train.penalty.name")
        return {"tpp": "TPP", "greg_1": "GReg-1", "greg_2": "GReg-2", None: "L1, trained on first"}.get(
            penalty
        )
    return _REPAIRS.get(str(flat.get("repair.name", "none")))


REPAIR_TABLE = Reproduction(
    name="repair-table",
    title="Repairs and penalties on a residual network",
    question="On a nonlinear network with BatchNorm and shortcuts, what keeps or restores trainability?",
    claims=(
        Claim(
            "TPP ends above L1 at ratios of 0.9 and 0.95, at both retraining rates.",
            "2207.12534, table 1: 89.63 against 86.75 at 0.9",
            above(
                (f"TPP, {_LARGE}", f"L1, {_LARGE}"),
                (f"TPP, {_SMALL}", f"L1, {_SMALL}"),
                columns=("0.9", "0.95"),
            ),
        ),
        Claim(
            "OrthP, KernOrth and OrthConv after L1 end below L1 alone.",
            "2207.12534, table 1",
            above(
                *((f"L1, {_LARGE}", f"{m}, {_LARGE}") for m in ("L1 + OrthP", *_PENALTIES.values())),
            ),
        ),
        Claim(
            "At 0.9 the shape from scratch is above L1.",
            "2207.12534, table 1: 88.36 against 86.75",
            above((f"scratch, {_LARGE}", f"L1, {_LARGE}"), columns=("0.9",)),
        ),
        Claim(
            "TPP is above the shape from scratch, at every ratio.",
            "2207.12534, table 1",
            above((f"TPP, {_LARGE}", f"scratch, {_LARGE}")),
        ),
        Claim(
            "Beyond the paper: TPP ends above L1 that was trained on for as long before pruning (S4.2).",
            "ours: TPP has trained longer",
            above((f"TPP, {_LARGE}", f"L1, trained on first, {_LARGE}")),
        ),
    ),
    place=_place,
    published=dict.fromkeys(
        ("resnet56", "resnet_small"),
        Published(
            "ResNet56 on CIFAR-10, dense 93.78",
            "TPP, arXiv 2207.12534, table 1",
            _RATIOS,
            {
                f"scratch, {_LARGE}": (
                    (93.16, 0.16),
                    (92.78, 0.23),
                    (92.11, 0.12),
                    (88.36, 0.20),
                    (84.60, 0.14),
                ),
                f"L1, {_LARGE}": ((93.79, 0.06), (93.51, 0.07), (92.26, 0.17), (86.75, 0.31), (83.03, 0.07)),
                f"L1 + OrthP, {_LARGE}": (
                    (93.69, 0.02),
                    (93.36, 0.19),
                    (91.96, 0.06),
                    (86.01, 0.34),
                    (82.62, 0.05),
                ),
                f"L1 + KernOrth, {_LARGE}": (
                    (93.49, 0.04),
                    (93.30, 0.19),
                    (91.71, 0.14),
                    (84.78, 0.34),
                    (80.87, 0.47),
                ),
                f"L1 + OrthConv, {_LARGE}": (
                    (92.54, 0.09),
                    (92.41, 0.07),
                    (91.02, 0.16),
                    (84.52, 0.27),
                    (80.23, 1.19),
                ),
                f"TPP, {_LARGE}": ((93.81, 0.11), (93.46, 0.06), (92.35, 0.12), (89.63, 0.10), (85.86, 0.08)),
                f"L1, {_SMALL}": ((93.43, 0.06), (93.12, 0.10), (91.77, 0.11), (87.57, 0.09), (83.10, 0.12)),
                f"TPP, {_SMALL}": ((93.54, 0.08), (93.32, 0.11), (92.00, 0.08), (89.09, 0.10), (85.47, 0.22)),
            },
        ),
    ),
)
