"""A cadence: after so many rounds, the ratio that has gone in all; and those that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isoprune.types.errors import IsopruneError
from isoprune.types.method import method

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


def _at_once(_: float, ratio: float) -> float:
    return ratio


@method("cadence", label="one shot")
def one_shot(*, rounds: int, ratio: float) -> Cadence:
    """Remove all that goes in the first round; the rounds after it only train."""
    return Cadence(ratio, rounds, _at_once)


def _linear(part: float, ratio: float) -> float:
    return ratio * part


@method("cadence")
def linear(*, rounds: int, ratio: float) -> Cadence:
    """Remove :math:`r / n` of all units in each of n rounds."""
    return Cadence(ratio, rounds, _linear)


@dataclass(frozen=True)
class Polynomial:
    """Part of the rounds, ratio in the end -> ratio by then."""

    power: float

    def __call__(self, part: float, ratio: float) -> float:
        return ratio * (1 - (1 - part) ** self.power)


@method("cadence", source="Zhu & Gupta, 2017, arXiv 1710.01878")
def polynomial(*, rounds: int, ratio: float, power: float = 3.0) -> Cadence:
    r"""Have removed :math:`r (1 - (1 - t/n)^p)` after t of n rounds.

    Raises:
        IsopruneError: If ``power`` is below 1, where less goes at first.
    """
    if not power >= 1:
        raise IsopruneError(f"power is {power:g}. Give 1 (linear) or more: 3 is the published one.")
    return Cadence(ratio, rounds, Polynomial(power))


def _by_cycle(part: float, ratio: float) -> float:
    return 1 - (1 - ratio) ** part


@method("cadence", source="Frankle & Carbin, ICLR 2019, arXiv 1803.03635")
def by_cycle(*, rounds: int, ratio: float) -> Cadence:
    """Remove :math:`1 - (1 - r)^{1/n}` of what is left in each of n rounds, r in all."""
    return Cadence(ratio, rounds, _by_cycle)
