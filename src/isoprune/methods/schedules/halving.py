"""Step decay whose stages halve: half of the epochs at the first learning rate, a quarter at the next, ..."""

from __future__ import annotations

from isoprune.methods.schedules.step_decay import step_decay
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@method("schedule", source="Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219")
def halving(*, epochs: int | float, stages: int, gamma: float = 0.1, longest: int = 30) -> Schedule:
    """Return step decay by the halving rule, with ``stages`` learning rates, each ``gamma`` times the last.

    To end on the learning rate of another run, as the source asks of a fair comparison, choose
    ``stages`` so that ``lr * gamma ** (stages - 1)`` is that rate.
    """
    return step_decay(
        epochs=epochs,
        milestones=halving_milestones(epochs=epochs, stages=stages, longest=longest),
        gamma=gamma,
    )


def halving_milestones(*, epochs: int | float, stages: int, longest: int = 30) -> list[int]:
    """Return the epochs at which the learning rate falls.

    Each stage but the last takes half of the epochs that are left, rounded up, and never more than
    ``longest``; the last takes the rest.

    Raises:
        IsopruneError: If there are too few epochs for so many stages, or the last would exceed ``longest``.
    """
    if epochs != int(epochs):
        raise IsopruneError(
            f"halving counts whole epochs, and here it gets {epochs:g}. Give the warm-up before it in epochs."
        )
    epochs = int(epochs)
    if stages < 1 or longest < 1:
        raise IsopruneError(f"stages = {stages} and longest = {longest}; both must be at least 1.")
    milestones: list[int] = []
    left = epochs
    for _ in range(stages - 1):
        left -= min((left + 1) // 2, longest)
        milestones.append(epochs - left)
    if left < 1:
        raise IsopruneError(
            f"{epochs} epochs are too few for {stages} halving stages. Lower stages, or train longer."
        )
    if left > longest:
        raise IsopruneError(
            f"The last of {stages} stages would take {left} of {epochs} epochs, and a stage takes at most "
            f"{longest}. Raise stages or longest."
        )
    return milestones
