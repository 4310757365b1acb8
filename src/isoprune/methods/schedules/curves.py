"""What schedules are made of: ways from one factor to another, the clock in epochs, and what is refused."""

from __future__ import annotations

import math

from isoprune.types import IsopruneError


def straight(a: float, b: float, part: float) -> float:
    """Return the line from ``a`` at 0 to ``b`` at 1."""
    return a * (1 - part) + b * part


def half_cosine(a: float, b: float, part: float) -> float:
    """Return half a cosine from ``a`` at 0 to ``b`` at 1, level at both ends."""
    return b + (a - b) * (1 + math.cos(math.pi * part)) / 2


CURVES = {"linear": straight, "cosine": half_cosine}


def snapped(epoch: int | float) -> float:
    """Return a time in epochs, exactly a whole number at the first step of an epoch.

    Progress is a rounded quotient, and times the epochs it can fall short of a whole number by an ulp: a drop
    of the learning rate at that epoch would come one step late. No step is as short as 1e-9 epochs.
    """
    return float(round(epoch)) if abs(epoch - round(epoch)) < 1e-9 else epoch


def check_epochs(epochs: int | float) -> None:
    if not 1 <= epochs < math.inf:
        raise IsopruneError(f"epochs = {epochs}, and a schedule needs at least 1. Raise it.")


def check_floor(floor: int | float) -> None:
    if not 0 <= floor <= 1:
        raise IsopruneError(f"floor = {floor}; it is a factor on the first learning rate, from 0 to 1.")


def part_of_run(length: int | float, name: str, epochs: int | float) -> float:
    """Return a length as a part of the run: an integer counts epochs, a float is the part itself.

    Raises:
        IsopruneError: If it is not positive or longer than the run.
    """
    part = length / epochs if isinstance(length, int) else length
    if not 0 < part <= 1:
        raise IsopruneError(
            f"{name} = {length} does not fit in a run of {epochs:g} epochs. "
            f"Give epochs from 1 to {math.floor(epochs)}, or a part of the run above 0.0 and at most 1.0."
        )
    return part
