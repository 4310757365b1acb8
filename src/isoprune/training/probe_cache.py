"""Finished probes of a learning rate in a small file, so that none is run twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from isoprune.training.rates import Probe
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json, write_json
from isoprune.types.locks import locked


def read_probes(path: Path, of: str) -> list[Probe]:
    """Return the probes in a file, none if it is not there.

    Raises:
        DamagedFile: If it is not what `write_probes` wrote there, ``of`` the same training.
    """
    try:
        facts = read_json(path, remedy="")
    except FileNotFoundError:
        return []
    if facts.get("of") != of:
        raise DamagedFile(f"{path} holds no probes of this training.")
    try:
        return msgspec.convert(facts.get("probes"), list[Probe])
    except msgspec.ValidationError as error:
        raise DamagedFile(f"{path} is damaged: {error}.") from None


def write_probes(path: Path, of: str, probes: Sequence[Probe]) -> None:
    write_json(path, {"of": of, "probes": [asdict(probe) for probe in probes]})


@dataclass(frozen=True)
class ProbeCache:
    """The finished probes of one network, data set and training, in a small file.

    Attributes:
        of: The digest of what they depend on: a file with another one counts as none.
        remedy: What to do where the file cannot be written.
    """

    path: Path
    of: str
    remedy: str

    def read(self) -> dict[float, Probe]:
        """Return the probes by their rates; those of a damaged file are run again, see `damage`."""
        try:
            return {probe.lr: probe for probe in read_probes(self.path, self.of)}
        except DamagedFile:
            return {}

    def damage(self) -> str:
        """Return what is wrong with the file, in a sentence; "" where it can be read or is not there."""
        try:
            read_probes(self.path, self.of)
        except DamagedFile as error:
            return f"{error} The probes are run again."
        return ""

    def add(self, probe: Probe) -> None:
        """Keep one more, whole or not at all, beside those that another process adds at the same time.

        Raises:
            IsopruneError: If the file cannot be written.
        """
        try:
            with locked(self.path.with_suffix(".lock")):
                known = self.read() | {probe.lr: probe}
                write_probes(self.path, self.of, [known[lr] for lr in sorted(known)])
        except OSError as error:
            raise self._unusable(error) from error

    def require_writable(self) -> None:
        """Raise IsopruneError now, and not after the first probe."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> IsopruneError:
        return IsopruneError(f"Probes cannot be kept in {self.path}: {error.strerror}. {self.remedy}")
