"""Finished probes of `isoprune.advise` in a small file, so that none is run twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from isoprune.data.files import data_root
from isoprune.experiment.validation import read
from isoprune.training.rates import Probe
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json, write_json
from isoprune.types.locks import locked


def read_probes(path: Path) -> list[Probe]:
    """Return the probes in a file, none if it is not there.

    Raises:
        DamagedFile: If it is not what `write_probes` wrote there.
    """
    try:
        facts = read_json(path, remedy="")
    except FileNotFoundError:
        return []
    if facts.get("of") != _question(path):
        raise DamagedFile(f"{path} is damaged: its probes are of another training.")
    try:
        return read(list[Probe], facts.get("probes"))
    except IsopruneError as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None


def write_probes(path: Path, probes: Sequence[Probe]) -> None:
    write_json(path, {"of": _question(path), "probes": [asdict(probe) for probe in probes]})


def _question(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@dataclass(frozen=True)
class ProbeCache:
    """The finished probes of one network, data set and training, in a small file.

    Its name is the digest of what they depend on, so those of another question are never found in it.
    """

    path: Path

    @staticmethod
    def of(digest: str) -> ProbeCache:
        """Return the cache of a question, in the directory of the data sets."""
        return ProbeCache(data_root() / "advice" / f"{digest}.json")

    def read(self) -> dict[float, Probe]:
        """Return the probes by their rates; those of a damaged file are run again, see `damage`."""
        try:
            return {probe.lr: probe for probe in read_probes(self.path)}
        except DamagedFile:
            return {}

    def damage(self) -> str:
        """Return what is wrong with the file, in a sentence; "" where it can be read or is not there."""
        try:
            read_probes(self.path)
        except DamagedFile as error:
            return f"{error} Its probes are run again."
        return ""

    def add(self, probe: Probe) -> None:
        """Keep one more, whole or not at all, beside those that another process adds at the same time.

        Raises:
            IsopruneError: If the file cannot be written.
        """
        try:
            with locked(self.path.with_suffix(".lock")):
                known = self.read() | {probe.lr: probe}
                write_probes(self.path, [known[lr] for lr in sorted(known)])
        except OSError as error:
            raise self._unusable(error) from error

    def require_writable(self) -> None:
        """Raise IsopruneError now, and not after the first probe."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> IsopruneError:
        return IsopruneError(
            f"Probes cannot be kept in {self.path}: {error.strerror}. Set ISOPRUNE_DATA to a directory that "
            "you may write to."
        )
