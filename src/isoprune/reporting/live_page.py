"""The page of a study while it runs: what is done, running, failed and left, and when it will end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.reporting import html, theme
from isoprune.types.duration import duration
from isoprune.types.files import write_output

REFRESH = 2  # seconds
MOST = 60  # rows of what runs; a large cluster runs more

_SLOTS = {"done": theme.GREEN, "running": theme.BLUE, "failed": theme.RED, "left": theme.INK}
_STATES = {"running": theme.BLUE, "finished": theme.GREEN, "stopped": theme.ORANGE, "ended": theme.RED}


def live_page(
    name: str, state: str, shown: Mapping[str, Any], file: Path, *, kept: int, again: str, report: str
) -> Path:
    """Write the page of a study, which its reader's browser loads anew while it runs, and return its path.

    Args:
        name: Of the study.
        state: running, finished, stopped (by its user), or ended (with failures).
        shown: counts, fraction, running, failures, elapsed and seconds_left, as a progress has them.
        kept: How many of its runs had been finished before.
        again: The command that goes on with it.
        report: The command that makes the full page.

    Raises:
        IsopruneError: If it cannot be written.
    """
    now, running, left = time.time(), state == "running", shown["seconds_left"]
    counts = dict(shown["counts"])
    if not running:  # What ran has not ended.
        counts |= {"running": 0, "left": counts["left"] + counts["running"]}
    page = html.render(
        "live.html.j2",
        title=name,
        state=state,
        seconds=REFRESH,
        then=None if left is None else _clock(now + left, now),
        left=None if left is None else duration(left),
        took=duration(shown["elapsed"]),
        now=time.strftime("%H:%M:%S" if running else "%Y-%m-%d %H:%M:%S", time.localtime(now)),
        kept=kept,
        percent=100 * shown["fraction"],
        counts=counts,
        running=shown["running"][:MOST] if running else [],
        more=max(0, len(shown["running"]) - MOST),
        failures=_grouped(shown["failures"]),
        again=again,
        report=report,
        slots={word: theme.PALETTE.index(colour) for word, colour in (_SLOTS | _STATES).items()},
    )
    return write_output(page, file, what="page")


def _grouped(failures: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return each error once: the first task that had it, how many others, and the error."""
    first: dict[str, list[str]] = {}
    for label, error in failures:
        first.setdefault(error, []).append(label)
    return [
        (labels[0], f"and {len(labels) - 1} more" if len(labels) > 1 else "", error)
        for error, labels in first.items()
    ]


def _clock(then: float, now: float) -> str:
    """Return a time of day, with its day unless that is today."""
    end, today = time.localtime(then), time.localtime(now)
    return time.strftime("%H:%M" if end[:3] == today[:3] else "%H:%M on %A, %d %B", end)
