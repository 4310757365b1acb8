"""The progress of a study: a bar with tasks done, running, failed and left, and the time to the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from isoprune.types.duration import duration

SECONDS_BETWEEN_TOTALS = 0.25  # A cluster tells hundreds of epochs a second, of thousands of tasks.


class StudyProgress:
    """Shows the events of `Workers.execute`; where there is no terminal, one line per finished task.

    Args:
        labels: Task -> what it is in a few words.
        epochs: Task -> its length.
        console: Where to; standard error, so that results can be piped.
    """

    def __init__(self, labels: Mapping[str, str], epochs: Mapping[str, int], console: Console) -> None:
        self._labels, self._epochs = labels, epochs
        self._console = console
        self._started = time.monotonic()
        self._at = dict.fromkeys(labels, 0)  # epochs done
        self._clock: tuple[float, int] | None = None  # when the first epoch ended, and epochs done by then
        self._shown_at = 0.0
        self._state = dict.fromkeys(labels, "left")
        self._training: dict[str, tuple[str, int]] = {}  # the stage that trains, and epochs before it
        self._epoch: dict[str, str] = {}  # in words
        self._errors: dict[str, str] = {}
        # Four times a second: the cores belong to the training.
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=console,
            refresh_per_second=4,
            disable=not console.is_terminal,
            transient=True,
        )
        self._total = self._bars.add_task("study", total=sum(epochs.values()), counts="", eta="")
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> StudyProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, task: str, event: Mapping[str, Any]) -> None:
        """Take in one event of a task."""
        if "say" in event:
            self._console.print(f"{self._labels[task]}: {event['say']}", markup=False, highlight=False)
        elif "state" in event:
            if event["state"] == "failed":
                self._errors[task] = event.get("error", "")
            self._change(task, event["state"])
        elif "epoch" in event:
            self._advance(task, event)
        now = time.monotonic()
        if "state" in event or now - self._shown_at >= SECONDS_BETWEEN_TOTALS:
            self._shown_at = now
            at = sum(self._at.values())
            self._bars.update(self._total, completed=at, counts=self.counts(), eta=self.eta())

    def shown(self) -> dict[str, Any]:
        """Return all of it as plain data: counts, what runs, what failed and why, seconds gone and left."""
        at, total = sum(self._at.values()), sum(self._epochs.values())
        running = [task for task, state in self._state.items() if state == "running"]
        return {
            "counts": self._counts(),
            "fraction": at / total if total else 1.0,
            "running": [
                (self._labels[t], self._epoch.get(t, ""), min(1.0, self._at[t] / self._epochs[t]))
                for t in running
            ],
            "failures": [(self._labels[task], error) for task, error in self._errors.items()],
            "elapsed": self.elapsed(),
            "seconds_left": self.seconds_left(),
        }

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def counts(self) -> str:
        """Return for example "12 done, 2 running, 0 failed, 22 left"."""
        return ", ".join(f"{number} {state}" for state, number in self._counts().items())

    def eta(self) -> str:
        """Return the time to the end in words; empty until there is a speed."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"about {duration(seconds)} to go"

    def seconds_left(self) -> float | None:
        """Return the time to the end at the mean speed so far; None before there is a speed, and after."""
        left = sum(self._epochs.values()) - sum(self._at.values())
        if self._clock is None or left <= 0:
            return None
        # From the first epoch on: loading torch says nothing about the speed.
        since, before = self._clock
        fresh, elapsed = sum(self._at.values()) - before, time.monotonic() - since
        return None if fresh <= 0 or elapsed < 1 else elapsed * left / fresh

    def _counts(self) -> dict[str, int]:
        states = list(self._state.values())
        return {state: states.count(state) for state in ("done", "running", "failed", "left")}

    def _advance(self, task: str, event: Mapping[str, Any]) -> None:
        stage, before = self._training.get(task, ("", 0))
        if event["stage"] != stage:
            before = self._at[task]
            self._training[task] = event["stage"], before
            if self._clock is not None:
                # What was found done in a checkpoint says nothing about the speed.
                self._clock = (self._clock[0], self._clock[1] + event["epoch"] - 1)
        self._at[task] = before + event["epoch"]
        if self._clock is None:
            self._clock = (time.monotonic(), sum(self._at.values()))
        self._epoch[task] = f"epoch {event['epoch']} of {event['epochs']}"
        if task in self._lines:
            self._bars.update(self._lines[task], completed=self._at[task], counts=self._epoch[task])

    def _change(self, task: str, state: str) -> None:
        self._state[task] = state
        if state == "running":
            if task in self._lines:
                return
            self._lines[task] = self._bars.add_task(
                f"  {self._labels[task]}", total=self._epochs[task], counts="", eta=""
            )
            return
        if state != "left":  # Or else its process died, and it will be tried again.
            self._at[task] = self._epochs[task]
        if (line := self._lines.pop(task, None)) is not None:
            self._bars.remove_task(line)
        if state != "left" and not self._console.is_terminal:
            eta = f" ({self.eta()})" if self.eta() else ""
            self._console.print(f"{state}: {self._labels[task]}; {self.counts()}{eta}", highlight=False)
