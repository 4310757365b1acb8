"""Options with which every schedule can be shown, as a function of how many epochs there are."""

from __future__ import annotations

import math
from typing import Any

# Fewer leave no room for the steps of some.
LEAST = 10


def examples(epochs: int) -> dict[str, dict[str, Any]]:
    """Return name -> options of every schedule, for a retraining of ``epochs`` (`LEAST` at least).

    With 90 epochs the halving rule's are the published ones of Wang et al., 2023: 30, 60, 75, 83.
    """
    third = math.ceil(epochs / 3)
    return {
        "constant": {},
        "step_decay": {},
        "halving": {"stages": min(5, epochs.bit_length() - 1), "longest": max(30, third)},
        "linear": {},
        "cosine": {"floor": 1e-3},
        # Cycles of 1, 2 and 4 parts: the third ends with the run, or a little after it.
        "sgdr": {"T_0": math.ceil(epochs / 7), "T_mult": 2, "floor": 1e-3},
        "cyclical": {"step_size": 1 / 8, "base": 0.1, "decay": 0.5},
        "one_cycle": {},
        "warm_up": {"rise": 0.1, "schedule": "cosine"},
        "lr_rewinding": {"dense_epochs": 2 * epochs, "milestones": [1 / 3, 2 / 3, 5 / 6]},
        "slr": {},
        "clr": {},
    }
