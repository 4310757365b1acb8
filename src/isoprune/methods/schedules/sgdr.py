"""Cosines one after the other, each from the first learning rate again: warm restarts."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from isoprune.methods.schedules.curves import check_epochs, check_floor, half_cosine, part_of_run
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method

MOST = 10_000  # cycles: each is a number in the schedule, and no run has a use for more


@dataclass(frozen=True)
class WarmRestarts:
    """progress -> factor: a cosine from 1 to ``floor`` between every two of ``starts`` (from 0 to >= 1)."""

    starts: tuple[float, ...]
    floor: float

    def __call__(self, progress: float) -> float:
        # The last of `starts` ends the last cycle and begins none.
        cycle = min(bisect_right(self.starts, progress), len(self.starts) - 1)
        begin, end = self.starts[cycle - 1], self.starts[cycle]
        return half_cosine(1.0, self.floor, (progress - begin) / (end - begin))


@method("schedule", source="Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983")
def sgdr(*, epochs: int | float, T_0: int | float, T_mult: int | float = 1, floor: float = 0.0) -> Schedule:
    r"""Return cosines of lengths :math:`T_0, T_0 T_{mult}, T_0 T_{mult}^2, \ldots` until the run is over.

    A run that ends within a cycle ends at that cycle's rate. To end at ``floor``, choose the epochs as a sum
    of whole cycles: with ``T_mult`` 2 they are T_0, 3 T_0, 7 T_0, ...

    Args:
        epochs: How many there are in all.
        T_0: Length of the first cycle. An integer counts epochs, a float is a part of the run.
        T_mult: By what each cycle is longer than the one before it.
        floor: Factor at the end of a cycle.

    Raises:
        IsopruneError: If a number is out of its range, or there would be more than 10 000 cycles.
    """
    check_epochs(epochs)
    check_floor(floor)
    if not 1 <= T_mult < float("inf"):
        raise IsopruneError(f"T_mult = {T_mult}; cycles keep their length (1) or grow (above 1).")
    length = float(part_of_run(T_0, "T_0", epochs))
    # In epochs where T_0 is: the restarts are then the very quotients that progress is in the training loop.
    unit = epochs if isinstance(T_0, int) else 1.0
    length = T_0 if isinstance(T_0, int) else length
    starts, at = [0.0], 0.0
    while starts[-1] < 1:
        if len(starts) > MOST:
            raise IsopruneError(f"T_0 = {T_0} makes more than {MOST} cycles. Raise T_0 or T_mult.")
        at, length = at + length, length * T_mult
        starts.append(at / unit)
    return WarmRestarts(tuple(starts), floor)
