"""Keep the page of a running study up to date, at no cost to the study."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isoprune.experiment.progress import StudyProgress
    from isoprune.experiment.study import StudyWork

SECONDS = 2.0  # between two pages
SHARE = 0.01  # of the time, at most: on a slow disk there are fewer


def page_of(work: StudyWork) -> Path:
    return work.store.study_path(work.study.name).with_suffix(".html")


def page_writer(
    work: StudyWork, progress: StudyProgress, *, again: str, report: str
) -> Callable[[str], None]:
    """Return what writes the page: given "running", when it is time to; given how the study ended, at once.

    A page that cannot be written is left as it is: the study goes on.
    """
    from isoprune.reporting import live_page

    due = 0.0

    def write(state: str) -> None:
        nonlocal due
        began = time.monotonic()
        if state == "running" and began < due:
            return
        with suppress(ValueError):  # An IsopruneError, which says where it cannot be written.
            live_page(
                work.study.name, state, progress.shown(), page_of(work),
                kept=len(work.kept), again=again, report=report,
            )  # fmt: skip
        ended = time.monotonic()
        due = ended + max(SECONDS, (ended - began) / SHARE)

    return write
