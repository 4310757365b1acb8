"""The store: a directory in which every result is filed under the digest of what it depends on.

```
ROOT/networks/<digest>/    a saved network and its step.json   what a step made, shared by its runs
     runs/<digest>/record.json                              one finished run
     studies/<name>.json                                    which runs a study consists of
```
A saved network is what `isoprune.save` writes. A step counts as finished when its ``step.json`` is there:
it is written last and holds the checksums of the network's files, as every JSON file holds its own. What
is damaged and can be made again raises `DamagedFile`: the caller makes it again and says so. Whoever makes
a result holds the lock of its folder, which the system lets go of when the process dies.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from isoprune.experiment.digests import FORMAT, run_digest
from isoprune.export.folder import BOOLS, PLAN, WEIGHTS, sha256_of
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, explained
from isoprune.types.json_files import read_json, write_json
from isoprune.types.locks import locked
from isoprune.types.record import Record
from isoprune.types.record_files import WHOLE, read_record

STEP = "step.json"
FILES = (PLAN, WEIGHTS, BOOLS)  # of the saved network beside it


@dataclass(frozen=True)
class Store:
    """A directory of results: a store, or this machine's part of one at ``url``, where ``elsewhere`` is."""

    root: Path
    url: str = ""
    elsewhere: frozenset[str] = frozenset()  # as "networks/<digest>"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # may be text

    def folder(self, digest: str) -> Path:
        """Return the folder of a step's network."""
        return self.root / "networks" / digest

    def record_path(self, digest: str) -> Path:
        return self.root / "runs" / digest / "record.json"

    def study_path(self, name: str) -> Path:
        return self.root / "studies" / f"{name}.json"

    def finished(self, digest: str) -> bool:
        """Return whether the network of a step is there already, and not damaged at first sight."""
        with suppress(DamagedFile):
            return f"networks/{digest}" in self.elsewhere or read_step(self.folder(digest)) is not None
        return False

    @contextmanager
    def making(self, folder: Path) -> Iterator[None]:
        """Lock ``folder`` while its result is made; errors of the disk become IsopruneErrors."""
        with self._explained(), locked(folder / ".lock"):
            yield

    def _explained(self) -> AbstractContextManager[None]:
        return explained(
            self.root, name="the store", remedy="Give a directory you may write to: --store DIR."
        )

    def read_record(self, digest: str) -> Record | None:
        """Return the finished record of a run, or None."""
        path = self.record_path(digest)
        remedy = f"Delete {path} and start the run again; its networks are kept."
        try:
            record = read_record(path, WHOLE)
        except FileNotFoundError:
            return None
        if record.digest != digest:
            raise IsopruneError(f"{path} holds the record of {record.digest!r}, not of {digest!r}. {remedy}")
        if record.config and run_digest(record.config) != digest:
            raise IsopruneError(f"{path} is damaged: its config is that of another run. {remedy}")
        return record

    def write_record(self, record: Record) -> None:
        with self._explained():
            write_json(self.record_path(record.digest), msgspec.to_builtins(record))

    def write_study(self, name: str, value: Mapping[str, Any]) -> None:
        with self._explained():
            write_json(self.study_path(name), dict(value))


def write_step(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the step record beside a saved network: it names the files, and marks the step as finished."""
    files = {name: sha256_of(folder / name) for name in FILES if (folder / name).is_file()}
    write_json(folder / STEP, {"version": FORMAT, **facts, "files": files})


def read_step(folder: Path) -> dict[str, Any] | None:
    """Return the step record in ``folder``, or None if there is none: the step is not finished.

    Raises:
        DamagedFile: If it is not what was written there.
    """
    try:
        facts = read_json(folder / STEP, remedy=again(folder))
    except FileNotFoundError:
        return None
    if facts.get("version") != FORMAT:
        raise DamagedFile(
            f"{folder} is of format {facts.get('version')}, and this isoprune reads format {FORMAT}. "
            + again(folder)
        )
    # By its name a folder is asked for: that of a link is what the link leads to.
    if facts.get("digest") != folder.resolve().name:
        raise DamagedFile(
            f"{folder} holds the network of another step: its digest is {facts.get('digest')!r}. "
            + again(folder)
        )
    return facts


def again(folder: Path) -> str:
    """Return what to do about a damaged folder."""
    return f"Run its experiment again, or delete {folder}: it is computed anew."


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a training that has ended."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
