"""The page of a study while it runs: what is done, running, failed and left, and when it will end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.reporting import html, theme
from isoprune.types.duration import duration

REFRESH = 2  # seconds
MOST = 60  # rows of what runs; a large cluster runs more

_SLOTS = {"done": theme.GREEN, "running": theme.BLUE, "failed": theme.RED, "left": theme.INK}
_STATES = {"running": theme.BLUE, "finished": theme.GREEN, "stopped": theme.ORANGE, "ended": theme.RED}
_COMMANDS = {
    "go on": "Start it again: finished runs are kept, and begun trainings go on from their last checkpoint.",
    "report": "A page of what is finished, with figures, tables and what they mean:",
}


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
    now, running = time.time(), state == "running"
    counts = dict(shown["counts"])
    if not running:  # What ran has not ended.
        counts |= {"running": 0, "left": counts["left"] + counts["running"]}
    steps = {
        "running": [("Ctrl-C where it was started stops it. " + _COMMANDS["go on"], again)],
        "finished": [(_COMMANDS["report"], report)],
    }.get(state, [(_COMMANDS["go on"], again), (_COMMANDS["report"], report)])
    page = html.render(
        "live.html.j2",
        title=name,
        state=state,
        seconds=REFRESH,
        headline=_headline(state, shown, now),
        meta=_meta(shown, now, kept, running=running),
        percent=100 * shown["fraction"],
        counts=counts,
        running=shown["running"][:MOST] if running else [],
        more=max(0, len(shown["running"]) - MOST),
        failures=_grouped(shown["failures"]),
        next="Stop and go on" if running else "What next",
        steps=steps,
        slots={word: theme.PALETTE.index(colour) for word, colour in (_SLOTS | _STATES).items()},
    )
    return html.write(page, file)


def _headline(state: str, shown: Mapping[str, Any], now: float) -> str:
    if state == "running":
        left = shown["seconds_left"]
        if left is None:
            return "It runs; when it will end is known after some epochs."
        return f"It runs, and ends at about {_clock(now + left, now)}, in {duration(left)}."
    took = duration(shown["elapsed"])
    failed = shown["counts"]["failed"]
    return {
        "finished": f"It is finished, after {took}.",
        "stopped": f"It was stopped, after {took}.",
        "ended": f"It ended after {took}, and {failed} of its tasks failed.",
    }[state]


def _meta(shown: Mapping[str, Any], now: float, kept: int, *, running: bool) -> str:
    """Return when the page was written, what it counts, and how it tells that nobody writes it any more."""
    known = f" {kept} runs were finished before and are not counted." if kept else ""
    if not running:
        return f"As of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{known}"
    return (
        f"Last news at {time.strftime('%H:%M:%S', time.localtime(now))}, "
        f"{duration(shown['elapsed'])} after the start.{known} Without news for much longer than an epoch "
        "takes, it was killed: go on with the command below."
    )


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
