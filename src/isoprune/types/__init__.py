"""The shared vocabulary as types. Loads without torch until one that needs it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from isoprune.types.errors import IsopruneError

if TYPE_CHECKING:
    from isoprune.types.data import Augment, Batches, Samples, Splits
    from isoprune.types.methods import Penalty, Repair, Schedule
    from isoprune.types.plan import Plan
    from isoprune.types.units import Frozen, Member, Scores, Units

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": ["Augment", "Batches", "Samples", "Splits"],
        "methods": ["Penalty", "Repair", "Schedule"],
        "plan": ["Plan"],
        "units": ["Frozen", "Member", "Scores", "Units"],
    },
)

__all__ = [
    "Augment",
    "Batches",
    "Frozen",
    "IsopruneError",
    "Member",
    "Penalty",
    "Plan",
    "Repair",
    "Samples",
    "Schedule",
    "Scores",
    "Splits",
    "Units",
]
