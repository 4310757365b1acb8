"""Does a small learning rate catch up when it is given more epochs?"""

from __future__ import annotations

from isoprune.reproduction.claims import Claim, Flat, Place, Published, Reproduction
from isoprune.reproduction.judges import above, within

_TIMES = ("1 x", "2 x", "3 x", "4 x", "10 x", "30 x", "50.5 x")
_LARGE, _SMALL, _SMALLEST = "L1, LR 1e-2", "L1, LR 1e-3", "L1, LR 1e-4"
_BASE = {6: 6, 18: 6, 60: 6, 180: 6, 1: 1, 10: 1}  # epochs -> those of the shortest, in our sizes
_BASE_PAPER = {30: 30, 90: 30, 300: 30, 1515: 30, 60: 60, 120: 60, 180: 60, 240: 60}


def _place(flat: Flat) -> Place | None:
    rows = {1e-2: _LARGE, 1e-3: _SMALL, 1e-4: _SMALLEST}
    row, epochs = rows.get(flat["retrain.lr"]), flat["retrain.epochs"]
    if row is None:
        return None
    base = (_BASE_PAPER if flat["model.name"] == "resnet34" else _BASE).get(epochs)
    if base is None:
        return None
    panel = " ".join(str(w) for w in (flat["model.name"], flat.get("model.activation")) if w is not None)
    return Place(panel, row, f"{epochs / base:g} x")


_PUBLISHED = Published(
    "ResNet34 on ImageNet100, ratio 0.95; 1 x is 60 epochs (30 at 1e-4, pruned at epoch 90)",
    "arXiv 2301.05219",
    _TIMES,
    {
        _LARGE: (77.81, None, None, None, None, None, None),
        _SMALL: (70.53, 75.71, 77.17, 77.33, None, None, None),
        _SMALLEST: (29.89, None, 60.69, None, 70.78, None, 78.18),
    },
)

LONGER_SMALL_LR = Reproduction(
    name="longer-small-lr",
    title="A small rate, given more epochs",
    question="Is a small retraining rate worse, or only slow?",
    columns="epochs of retraining",
    claims=(
        Claim(
            "In equal epochs, the large rate ends above the small one.",
            "2301.05219: 77.81 against 70.53",
            above(((_LARGE, "1 x"), (_SMALL, "1 x"))),
        ),
        Claim(
            "Given 10 times the epochs, the small rate catches up: it ends not more than 0.5 points "
            "below the large one in 1 x.",
            "2105.05916; 2301.05219: 77.33 in 4 x against 77.81",
            within(((_SMALL, "10 x"), (_LARGE, "1 x")), margin=0.5, below_only=True),
        ),
        Claim(
            "Each lengthening of the small rate’s first stage raises what it ends at.",
            "2301.05219: 70.53, 75.71, 77.17, 77.33",
            above(
                ((_SMALL, "3 x"), (_SMALL, "1 x")),
                ((_SMALL, "10 x"), (_SMALL, "3 x")),
                ((_SMALL, "30 x"), (_SMALL, "10 x")),
            ),
        ),
        Claim(
            "Beyond the paper: given 10 times the epochs too, the large rate is not ahead by more than 0.5.",
            "ours: a fair test gives both the epochs",
            within(((_SMALL, "10 x"), (_LARGE, "10 x")), margin=0.5, below_only=True),
        ),
    ),
    place=_place,
    published=dict.fromkeys(("resnet34", "mlp_7 linear", "lenet_5 relu"), _PUBLISHED),
    image_classes=100,
    notes=("Epochs are added at the first rate, as in the paper; the lower rates after it keep theirs.",),
)
