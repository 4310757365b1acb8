"""What runs on a node of a Ray cluster: a task of a study, and the mailbox for the nodes' events."""

from __future__ import annotations

import contextlib
import io
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import isoprune
from isoprune.experiment import worker
from isoprune.experiment.mirror import is_url
from isoprune.experiment.remote import check_rights
from isoprune.types.errors import IsopruneError

SECONDS_BETWEEN_EVENTS = 1.0  # of one task: a hundred nodes tell a lot


def attempt(task: str, work: Mapping[str, Any], here: Mapping[str, Any], box: Any) -> dict[str, Any]:
    """Do a task on the node where this runs."""
    import torch

    torch.set_num_threads(1)
    if (reason := unfit(here)) is not None:
        return {"error": reason, "mendable": True}
    with contextlib.suppress(OSError):  # Relative paths of data mean the same, where there is that directory.
        os.chdir(here["directory"])

    def tell(event: Mapping[str, Any]) -> None:
        box.put.remote(task, event)

    tell({"state": "running"})
    said = Said(lambda line: tell({"say": line}))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return worker.attempt(
            {**work, "store": here["store"]}, worker.throttled(tell, seconds=SECONDS_BETWEEN_EVENTS)
        )


def greet(here: Mapping[str, Any]) -> str | None:
    """Return why this node cannot take part in a study, or None."""
    if (reason := unfit(here)) is None and is_url(here["store"]):
        try:
            check_rights(here["store"])
        except IsopruneError as error:
            return f"On node {platform.node()}: {error}"
    return reason


def unfit(here: Mapping[str, Any]) -> str | None:
    """Return why this node cannot work as the driver does, or None; uses no network."""
    if isoprune.__version__ != here["version"]:
        return (
            f"Node {platform.node()} has isoprune {isoprune.__version__}, and here is {here['version']}. "
            "Install the same on every node."
        )
    if not is_url(here["store"]) and not Path(here["token"]).exists():
        return (
            f"Node {platform.node()} does not see the store {here['store']}. Give a directory that all nodes "
            "share, or a URL: --store s3://bucket/runs."
        )
    return None


class Letters:
    """Events of the nodes, until the driver takes them."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, Mapping[str, Any]]] = []

    def put(self, task: str, event: Mapping[str, Any]) -> None:
        self._letters.append((task, event))

    def take(self) -> list[tuple[str, Mapping[str, Any]]]:
        letters, self._letters = self._letters, []
        return letters


class Said(io.TextIOBase):
    """A text stream that hands each line to a function."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell, self._line = tell, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)
