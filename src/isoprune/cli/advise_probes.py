"""The probes of `isoprune advise`: run with a line of progress, and kept, so that none is run twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from isoprune.cli.advise_task import Task
from isoprune.data.files import data_root
from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_json, write_json
from isoprune.verbs.advise import Advice, Probe, advise


@dataclass(frozen=True)
class Kept:
    """The finished probes of one network, data set and training, in a small file.

    Its name is the digest of what they depend on, so those of another question are never found in it.
    """

    path: Path

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


def probed(task: Task, console: Console) -> Advice:
    """Return the advice, with a line of progress; probes that were kept are not run again.

    Raises:
        IsopruneError: As `advise` does, or if probes cannot be kept.
    """
    kept = Kept(data_root() / "advice" / f"{task.digest}.json")
    kept.require_writable()
    known = kept.read()
    left = [lr for lr in task.rates if lr not in known]
    if len(left) < len(task.rates):
        console.print(
            f"{len(task.rates) - len(left)} of {len(task.rates)} probes were kept and are not run again."
        )
    distill = task.training.distill
    finished = 0
    try:
        with _shown(left, console) as shown:

            def on_probe(probe: Probe) -> None:
                nonlocal finished
                kept.add(probe)
                finished += 1
                shown(probe)

            return advise(
                task.subject.model,
                task.splits,
                epochs=task.training.epochs,
                schedule=task.schedule,
                steps=task.training.steps,
                rates=task.rates,
                batch=task.training.batch,
                momentum=task.training.momentum,
                weight_decay=task.training.weight_decay,
                dense=None if distill is None else task.subject.dense,
                distill=None if distill is None else asdict(distill),
                seed=task.seed,
                done=list(known.values()),
                on_probe=on_probe,
            )
    except KeyboardInterrupt:
        done = len(task.rates) - len(left) + finished
        console.print(
            f"\nStopped. {done} of {len(task.rates)} probes are kept; the same command goes on with the next."
        )
        raise


@contextmanager
def _shown(left: list[float], console: Console) -> Iterator[Callable[[Probe], None]]:
    """Show how many probes are done, until the last one is. Without a terminal, a line a probe."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    hidden = not console.is_terminal or not left
    # Which rates come next, and how many, depends on how the first ones end.
    most = len(left)
    with Progress(
        *columns, console=console, transient=True, disable=hidden, refresh_per_second=4
    ) as progress:
        task = progress.add_task(f"probing the first of at most {most} rates", total=most)
        done = 0

        def shown(probe: Probe) -> None:
            nonlocal done
            done += 1
            end = "diverged" if probe.accuracy is None else f"accuracy {probe.accuracy:.1%}"
            progress.update(
                task, advance=1, description=f"rate {probe.lr:g}: {end}; {done} of at most {most}"
            )
            if not console.is_terminal:
                console.print(
                    f"rate {probe.lr:g}: {end} after {probe.steps} steps", markup=False, highlight=False
                )

        yield shown
