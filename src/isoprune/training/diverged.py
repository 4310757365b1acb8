"""The error of a training whose loss stopped being a number."""

from __future__ import annotations

from isoprune.types import IsopruneError


class Diverged(IsopruneError):
    """The loss became NaN or infinite; ``epoch`` and ``step`` count from one, 0 is before the first.

    ``step`` is None if it showed only in the validation loss after the epoch.
    """

    # Defaults, because pickle rebuilds an exception from its message alone and adds the rest after.
    def __init__(
        self, message: str, epoch: int = 0, step: int | None = None, lr: float | None = None
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.lr = lr
