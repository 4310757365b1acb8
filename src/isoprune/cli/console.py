"""Output of the verbs: results to standard output, progress and messages to standard error."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.segment import Segment

from isoprune.types.duration import duration

SECONDS_BETWEEN_LINES = 30.0  # of progress, where there is no terminal

# Control characters but the line's end and the tab, marks of the direction of writing, halves of characters.
_steered = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


class _Console(Console):
    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Let no name steer the terminal: what rich itself writes of that kind is in controls and styles."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_steered.sub("\ufffd", segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Leave it to `main`: a reader that has seen enough is no failure, as it is for rich."""
        raise BrokenPipeError


def error_console() -> Console:
    """Return the console of progress and messages; results go to standard output."""
    return _Console(stderr=True, soft_wrap=True)


def output_console() -> Console:
    """Return the console of results; wide where no terminal says how wide."""
    return _Console(width=None if os.isatty(1) else 120, highlight=False)


def say(*sentences: str) -> None:
    """Print sentences as they are, a line each, to standard output."""
    console = output_console()
    for sentence in sentences:
        console.print(sentence, markup=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show the current action and its duration on stderr, until it is done.

    Without a terminal, such as in a batch job, it is a line now and then: the first after half a minute.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = error_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)
        started = last = time.monotonic()

        def tell(text: str) -> None:
            nonlocal last
            shown.update(task, description=text)
            if not console.is_terminal and (now := time.monotonic()) - last >= SECONDS_BETWEEN_LINES:
                last = now
                console.print(f"{duration(now - started)}: {text}", markup=False, highlight=False)

        yield tell
