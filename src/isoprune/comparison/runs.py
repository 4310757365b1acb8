"""What is compared: a config or a record, as flat keys, its sizes, and what its trainings took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from isoprune.comparison.records import flatten, number
from isoprune.types.errors import IsopruneError

Table = Mapping[str, Any]
SCRATCH = "scratch"


@dataclass(frozen=True)
class Run:
    """A config with dotted keys, and its record if there is one."""

    flat: Mapping[str, Any]
    record: Table | None = None

    @property
    def scratch(self) -> bool:
        """Whether its weights are drawn anew after pruning: of the base only the shape is left."""
        steps = self.flat.get("repair.steps") or ()
        names = [self.flat.get("repair.name"), *(dict(step).get("name") for step in steps)]
        return SCRATCH in names

    @property
    def trained(self) -> tuple[str, ...]:
        """The trainings that its network is the result of, in order."""
        # A teacher is not given up with its weights.
        distilled = self.flat.get("retrain.distill.weight") is not None
        return ("retrain",) if self.scratch and not distilled else ("dense", "prune", "retrain")


def read(run: Table) -> Run:
    """Return the run of a record (it has a ``config``) or of a config.

    Raises:
        IsopruneError: If it is neither.
    """
    record = run if isinstance(run, Mapping) and "config" in run else None
    config = run if record is None else run["config"]
    if not isinstance(config, Mapping) or not {"data", "model", "prune", "retrain"} <= config.keys():
        raise IsopruneError(
            "What is compared must be records, or configs with data, model, prune and retrain. "
            "Give what isoprune.experiment.run returns, or a record.json."
        )
    return Run(flatten(config), record)


@dataclass(frozen=True)
class Budget:
    """What all trainings of a run took; None where it is not known.

    ``step`` is one step of the last, or of a dense training that was cut to a number of steps.
    """

    epochs: Fraction | None
    samples: int | None
    multiply_adds: int | None
    step: tuple[int, int] = (0, 0)  # samples, multiply-adds


# What a record calls the training of a stage.
_TRAINED = {"dense": "dense", "prune": "pruned", "retrain": "retrained"}


def budget(run: Run) -> Budget:
    """Return what the trainings behind a run's network took: base, pruning and retraining."""
    epochs: list[Fraction | None] = [_epochs(run, stage) for stage in run.trained]
    counted = [_counted(run, stage) for stage in run.trained]
    known = [c for c in counted if c is not None]
    all_known = len(known) == len(counted)
    batch = int(number(run.flat, "retrain.batch") or 0)
    flops = int(number(run.record, "stages", "pruned", "flops") or 0)
    steps = [(batch, 3 * flops * batch)]
    if run.trained[0] == "dense" and counted[0] and run.flat.get("dense.steps") is not None:
        samples, cost = counted[0]
        batch = int(number(run.flat, "dense.batch") or 0)
        steps.append((batch, cost * batch // max(samples, 1)))
    return Budget(
        None if None in epochs else sum((e for e in epochs if e is not None), Fraction(0)),
        sum(samples for samples, _ in known) if all_known else None,
        sum(cost for _, cost in known) if all_known else None,
        max(steps, key=lambda step: step[1]),
    )


def _epochs(run: Run, stage: str) -> Fraction | None:
    key = "prune.train" if stage == "prune" else stage
    epochs = number(run.flat, f"{key}.epochs")
    if epochs is None:
        return Fraction(0) if stage == "prune" else None
    if not epochs and stage == "dense" and _comes_trained(run):
        return None
    # How many epochs so many steps are, a config alone cannot say.
    return Fraction(epochs) if run.flat.get(f"{key}.steps") is None else None


def _comes_trained(run: Run) -> bool:
    """Whether the dense network was trained elsewhere, for nobody knows how long."""
    return run.flat.get("model.weights") is not None or ":" in str(run.flat.get("model.name"))


def _counted(run: Run, stage: str) -> tuple[int, int] | None:
    """Return samples and multiply-adds of a training, as its record counted them."""
    if run.record is not None:
        found = [number(run.record, "training", _TRAINED[stage], key) for key in ("samples", "multiply_adds")]
        if None not in found:
            return int(found[0] or 0), int(found[1] or 0)
    return (0, 0) if run.record is not None and _epochs(run, stage) == 0 else None
