"""A cadence: after so many rounds, the ratio that has gone in all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isoprune.types.errors import IsopruneError

Curve = Callable[[float, float], float]  # part of the rounds in (0, 1), ratio in the end -> ratio by then


@dataclass(frozen=True)
class Cadence:
    """round -> ratio of all units that has gone when it is over; nothing at 0, ``ratio`` after the last.

    Raises:
        IsopruneError: If there is no such ratio or number of rounds, or no such round.
    """

    ratio: float
    rounds: int
    curve: Curve

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise IsopruneError(
                f"ratio is {self.ratio:g}, outside [0, 1). It is the fraction that has gone after all rounds."
            )
        if self.rounds < 1:
            raise IsopruneError(f"rounds is {self.rounds}. Give the number of rounds, 1 or more.")

    def __call__(self, number: int) -> float:
        if not 0 <= number <= self.rounds:
            raise IsopruneError(f"There is no round {number} of {self.rounds}.")
        if number in (0, self.rounds):  # exactly, whatever the curve's rounding
            return 0.0 if number == 0 else float(self.ratio)
        return float(self.curve(number / self.rounds, self.ratio))


def of_what_is_left(cadence: Callable[[int], float], number: int) -> float:
    """Return what goes in a round (from 1), as a ratio of what is still there when it begins."""
    return 1 - (1 - cadence(number)) / (1 - cadence(number - 1))
