"""Where data files are stored, how they are downloaded, and the errors when that fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from isoprune.types.errors import IsopruneError, one_line
from isoprune.types.locks import locked


def data_root() -> Path:
    """Return ``$ISOPRUNE_DATA``, else isoprune's directory in the user's cache."""
    if chosen := os.environ.get("ISOPRUNE_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isoprune"


def fetch(
    name: str, download: Callable[[Path], object], *, root: Path, files: Sequence[str], hint: str = ""
) -> None:
    """Have ``download`` fetch ``files`` (paths below ``root``), each complete or not there at all.

    They arrive in a directory of their own and are moved when all are complete; of several processes
    one fetches and the others wait.

    Raises:
        IsopruneError: If they cannot be fetched or written; says which files go where.
    """
    part = root / f".{name}.part"
    try:
        with locked(root / f".{name}.lock"):
            if all((root / file).is_file() for file in files):
                return
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            download(part)
            for file in files:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (part / file).replace(root / file)
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, RuntimeError, HTTPException) as error:
        directory = (root / files[0]).parent
        names = ", ".join(Path(file).name for file in files)
        raise IsopruneError(
            f"{name} is not in {directory} and cannot be downloaded: {one_line(error)}. Put {names} there, "
            f"or set ISOPRUNE_DATA to the directory that holds {Path(files[0]).parent}{hint}."
        ) from error


def damaged(path: Path, reason: object) -> IsopruneError:
    """Return the error for a file that is there but cannot be used."""
    return IsopruneError(
        f"{path} is corrupt or cut short: {reason}. Delete it (or reinstall the package that brought it) "
        "and start again: what is missing is downloaded."
    )
