"""Directories that are complete or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isoprune.types import IsopruneError
from isoprune.types.files import DamagedFile, explained, flush
from isoprune.types.temporary import clear_temporary, is_temporary, temporary

WEIGHTS, PLAN, BOOLS = "model.safetensors", "plan.json", "plan.safetensors"
ONNX, PREDICT = "model.onnx", "predict.py"
FORMAT = "isoprune network"  # by its first lines, a plan.json of ours is told from another program's
OURS = frozenset({WEIGHTS, PLAN, BOOLS, ONNX, f"{ONNX}.data", PREDICT})


class DamagedNetwork(DamagedFile):
    """A saved network is not what was written, or of another make than what is to become it.

    ``problem`` is what is wrong, without the remedy: a store has another one.
    """

    def __init__(self, problem: str, remedy: str = "Copy the directory anew, or save the network again."):
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem


def damaged(path: Path, problem: str) -> DamagedNetwork:
    """Return the error of a file of a saved network that is not as it was written."""
    return DamagedNetwork(f"{path} is damaged: {problem[:200]}")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settled(directory: Path) -> Path:
    """Return the path of a saved network: ``directory``, or its old copy if a replacement was killed."""
    old = aside(directory)
    return old if not directory.exists() and old.exists() else directory


def check_target(directory: Path) -> None:
    """Raise unless `replacing` may write here: nothing, an empty directory, or a network saved by isoprune.

    Raises:
        IsopruneError: If a file or somebody's other files are there.
    """
    with explained(directory):
        if not directory.exists():
            return
        if not directory.is_dir():
            raise IsopruneError(f"{directory} is a file. Give a directory to save into.")
        try:
            names = sorted(entry.name for entry in directory.iterdir())
        except FileNotFoundError:  # Another process is putting its own there.
            return
        names = [name for name in names if not is_temporary(name)]
        foreign = [name for name in names if name not in OURS]
        if names and not foreign and not _is_ours(directory / PLAN):
            foreign = names
    if foreign:
        raise IsopruneError(
            f"{directory} holds {foreign[0]}, which isoprune did not write. "
            "It is not replaced: give a new or an empty directory."
        )


def _is_ours(plan: Path) -> bool:
    if not plan.is_file():
        return False
    with plan.open("rb") as file:
        return f'"format": "{FORMAT}"'.encode() in file.read(200)


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Give a temporary directory whose content is at ``directory`` when the block ends well.

    Everything is on the disk before the rename. If the block raises, what was there is still there.

    Raises:
        IsopruneError: If the place is not ours to replace, is read-only, or has no space left.
    """
    check_target(directory)
    directory = Path(os.path.realpath(directory))  # a link to a directory stays a link
    old, part = aside(directory), temporary(directory)
    with explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        if old.exists() and not directory.exists():
            old.rename(directory)
        clear_temporary(directory.parent, directory.name)
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            yield part
            for file in part.iterdir():
                flush(file)
            flush(part)
            _exchange(part, directory, old)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


@contextmanager
def adding(directory: Path) -> Iterator[Path]:
    """Give a temporary directory whose files are in ``directory``, each whole, when the block ends well."""
    part = temporary(directory / "network")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for file in part.iterdir():
            flush(file)
            file.replace(directory / file.name)
        flush(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _exchange(part: Path, directory: Path, old: Path) -> None:
    """Put ``part`` in ``directory``'s place. A directory that is not empty cannot be renamed over."""
    if directory.exists():
        shutil.rmtree(old, ignore_errors=True)
        directory.rename(old)
    try:
        part.rename(directory)
    except BaseException:
        with suppress(OSError):
            old.rename(directory)
        raise
    flush(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def aside(directory: Path) -> Path:
    """Return the path that a directory is moved to while another replaces it."""
    directory = Path(os.path.realpath(directory))  # which a link to itself does not stop
    return directory.with_name(f".{directory.name}.replaced")
