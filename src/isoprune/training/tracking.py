"""Trackers (TensorBoard and its like), through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.training.processes import Processes, join
from isoprune.types import IsopruneError
from isoprune.types.errors import check_known


@dataclass(frozen=True)
class Tracking:
    """Which trackers get the rows of the history, in which folder, under which name of the run."""

    trackers: Sequence[str]
    folder: Path = Path("trackers")
    run: str = "isoprune"


def check_trackers(trackers: Sequence[str]) -> None:
    """Raise IsopruneError for a tracker that is not known or not installed."""
    if not trackers:
        return
    from accelerate.utils import LoggerType  # slow to import

    # accelerate would pass over one that is not installed in silence. Their packages are called as they are.
    known = [kind.value for kind in LoggerType if kind is not LoggerType.ALL]
    for name in trackers:
        check_known(name, known, "tracker")
        if find_spec(name) is None:
            raise IsopruneError(f"The tracker {name!r} is not installed. Install it: pip install {name}")


@contextmanager
def joined(
    model: nn.Module, tracked: Tracking | None
) -> Iterator[tuple[Processes, Callable[[Mapping[str, Any]], None]]]:
    """Yield this process and a function that sends a row to the trackers; their run ends with the block."""
    if tracked is None or not tracked.trackers:
        yield join(model), lambda _: None
        return
    check_trackers(tracked.trackers)
    here = join(model, log_with=list(tracked.trackers), project_dir=str(tracked.folder))
    here.accelerator.init_trackers(tracked.run)

    def log(row: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in row.items() if key != "epoch"}
        here.accelerator.log(numbers, step=row["epoch"])

    try:
        yield here, log
    finally:
        # Not `end_training`, which would part the processes too.
        for tracker in here.accelerator.trackers:
            tracker.finish()
