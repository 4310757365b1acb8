"""ResNet-50 on ImageNet: TPP's table 2."""

from __future__ import annotations

from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction, ratio_of
from isoprune.reproduction.judges import above

# The ratios of the stages' inner convolutions -> the speed-up that they were published with.
_SPEEDUPS: dict[tuple[float, ...], str] = {
    (0.6, 0.6, 0.6, 0.21): "2.31x",
    (0.74, 0.74, 0.6, 0.21): "2.56x",
    (0.68, 0.68, 0.68, 0.5): "3.06x",
}


def _place(flat: Flat) -> Place | None:
    ratios = [flat.get(f"prune.ratio.layer{i}.*") for i in (1, 2, 3, 4)]
    column = _SPEEDUPS.get(tuple(float(r) for r in ratios if r is not None)) or ratio_of(flat)
    row = "TPP" if flat.get("prune.train.penalty.name") == "tpp" else "L1"
    return Place(str(flat["model.name"]), row, column)


IMAGENET = Reproduction(
    name="imagenet",
    title="ResNet-50 on ImageNet",
    question="At the speed-ups that the field compares at, is TPP above L1 with a good learning rate?",
    columns="speed-up",
    claims=(
        Claim(
            "TPP ends above L1 that is retrained with a good learning rate.",
            "2207.12534, table 2; 2301.05219: 75.60 against 75.24 at 2.31x",
            above(("TPP", "L1"), columns=("2.31x", "2.56x")),
        ),
    ),
    place=_place,
    published={
        "resnet50": Published(
            "ResNet50 on ImageNet",
            "2207.12534, table 2 (TPP); 2301.05219 (L1)",
            ("2.31x", "2.56x", "3.06x"),
            {"TPP": (75.60, 75.12, 74.51), "L1": (75.24, 74.77, None)},
        )
    },
    scales=("smoke", "paper"),
)
