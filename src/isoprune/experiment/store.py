"""The store: a directory in which every result is filed under the digest of what it depends on.

```
ROOT/networks/<digest>/    network.json + network.safetensors   what a step made, shared by its runs
     runs/<digest>/record.json                                  one finished run
     studies/<name>.json                                        which runs a study consists of
```
A network counts as finished when its ``network.json`` is there: it is written last and holds the
checksum of the weights, as every JSON file holds its own. What is damaged and can be made again raises
`DamagedFile`: the caller makes it again and says so. Whoever makes a result holds the lock of its folder,
which the system lets go of when the process dies.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from isoprune.experiment.digests import FORMAT, run_digest
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, explained, read_file, write_atomic
from isoprune.types.json_files import read_json, write_json
from isoprune.types.locks import locked
from isoprune.types.record import Record
from isoprune.types.record_files import WHOLE, read_record


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
            return f"networks/{digest}" in self.elsewhere or read_facts(self.folder(digest)) is not None
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


def save_network(folder: Path, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Save a state dict and its facts; ``network.json`` is written last and marks it as finished."""
    from safetensors.torch import save

    weights = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    write_atomic(folder / "network.safetensors", weights)
    checksum = hashlib.sha256(weights).hexdigest()
    write_json(
        folder / "network.json", {"version": FORMAT, **facts, "sha256": checksum, "bytes": len(weights)}
    )


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return the facts of the finished network in ``folder``, or None if there is none.

    Raises:
        DamagedFile: If it is not what was written there.
    """
    try:
        facts = read_json(folder / "network.json", remedy=_again(folder))
    except FileNotFoundError:
        return None
    if facts.get("version") != FORMAT:
        raise DamagedFile(
            f"{folder} is of format {facts.get('version')}, and this isoprune reads format {FORMAT}. "
            + _again(folder)
        )
    # By its name a folder is asked for: that of a link is what the link leads to.
    if facts.get("digest") != folder.resolve().name:
        raise DamagedFile(
            f"{folder} holds the checkpoint of another network: its digest is {facts.get('digest')!r}. "
            + _again(folder)
        )
    return facts


def read_tensors(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict of a finished network, its checksum compared with ``facts``.

    Raises:
        DamagedFile: If the file is missing or another one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / "network.safetensors"
    try:
        weights = read_file(path, most=facts.get("bytes", 0))
    except FileNotFoundError:
        raise DamagedFile(
            f"{path} is missing, though {folder / 'network.json'} names it. {_again(folder)}"
        ) from None
    if hashlib.sha256(weights).hexdigest() != facts.get("sha256"):
        raise DamagedFile(f"{path} is damaged: its checksum is not the one in network.json. {_again(folder)}")
    try:
        return load(weights)
    except SafetensorError as error:
        raise DamagedFile(f"{path} is damaged: {error}. {_again(folder)}") from None


def _again(folder: Path) -> str:
    return f"Run its experiment again, or delete {folder}: it is computed anew."


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a training that has ended."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
