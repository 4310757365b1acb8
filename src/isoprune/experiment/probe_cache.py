"""Finished probes of `isoprune.advise` in a small file, so that none is run twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from isoprune.data.files import data_root
from isoprune.training.rates import Probe
from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_json, write_json


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
        """Return the probes by their rates.

        Raises:
            IsopruneError: If the file is damaged.
        """
        remedy = "Delete it and start again: its probes are then run anew."
        try:
            rows = read_json(self.path, remedy=remedy)["probes"]
            return {probe.lr: probe for probe in (Probe(**row) for row in rows)}
        except FileNotFoundError:
            return {}
        except (KeyError, TypeError, AttributeError) as error:
            raise IsopruneError(f"{self.path} is damaged: it holds no probes. {remedy}") from error
        except OSError as error:
            raise self._unusable(error) from error

    def add(self, probe: Probe) -> None:
        """Keep one more, whole or not at all.

        Raises:
            IsopruneError: If the file cannot be written.
        """
        known = self.read() | {probe.lr: probe}
        try:
            write_json(self.path, {"probes": [asdict(known[lr]) for lr in sorted(known)]})
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
