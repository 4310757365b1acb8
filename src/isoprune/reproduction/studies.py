"""The studies of every reproduction: a file a scale, and what arithmetic adds to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from importlib.resources import as_file, files

from isoprune.experiment.grid import Study, read_study
from isoprune.reproduction.claims import Reproduction
from isoprune.reproduction.imagenet import IMAGENET
from isoprune.reproduction.jsv_vs_ratio import JSV_VS_RATIO
from isoprune.reproduction.longer_small_lr import LONGER_SMALL_LR
from isoprune.reproduction.lr_effect import LR_EFFECT
from isoprune.reproduction.lr_schedules import LR_SCHEDULES
from isoprune.reproduction.repair_table import REPAIR_TABLE
from isoprune.reproduction.value_of_pruning import VALUE_OF_PRUNING
from isoprune.types.errors import IsopruneError, did_you_mean

REPRODUCTIONS = {
    r.name: r
    for r in (
        JSV_VS_RATIO,
        LR_EFFECT,
        LONGER_SMALL_LR,
        REPAIR_TABLE,
        LR_SCHEDULES,
        VALUE_OF_PRUNING,
        IMAGENET,
    )
}
SCALES = ("smoke", "laptop", "paper")


def find(name: str) -> Reproduction:
    """Return the reproduction called ``name``.

    Raises:
        IsopruneError: If there is none, with the nearest name that there is.
    """
    if name not in REPRODUCTIONS:
        raise IsopruneError(f"Nothing to reproduce is called {name!r}.{did_you_mean(name, REPRODUCTIONS)}")
    return REPRODUCTIONS[name]


def study_of(reproduction: Reproduction, scale: str, settings: Iterable[str] = ()) -> Study:
    """Return the study of a reproduction at a scale, called NAME-SCALE.

    Args:
        settings: Changes of its keys, as ``--set`` takes them.

    Raises:
        IsopruneError: If it has no such scale, or a setting is wrong.
    """
    if scale not in reproduction.scales:
        known = " and ".join(reproduction.scales)
        why = (
            f"{reproduction.name} has no size for a laptop"
            if scale == "laptop"
            else f"Unknown scale {scale!r}"
        )
        raise IsopruneError(f"{why}. Write --scale with one of: {known}.")
    folder = files("isoprune.reproduction") / "studies" / reproduction.name
    with as_file(folder / f"{scale}.toml") as file:
        study = read_study(file, settings)
    return reproduction.complete(
        dataclasses.replace(study, name=f"{reproduction.name}-{scale}"), reproduction.image_classes
    )
