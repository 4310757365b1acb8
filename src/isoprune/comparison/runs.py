"""The runs that are compared: a config or a record as flat keys, its sizes, and its training costs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from isoprune.comparison.records import Flat, Number, flatten, under
from isoprune.comparison.records.frame import numbers_of
from isoprune.comparison.setups import Setup, rung
from isoprune.types.errors import IsopruneError
from isoprune.types.method import TRAINS
from isoprune.types.record import Record

AnyRecord = Mapping[str, Any] | Record
SCRATCH = "scratch"


@dataclass(frozen=True)
class Budget:
    """What all trainings of a run took; None where it is not known.

    ``step`` is one step of the last, or of a dense training that was cut to a number of steps.
    """

    epochs: Fraction | None
    samples: int | None
    multiply_adds: int | None
    step: tuple[int, int] = (0, 0)  # samples, multiply-adds


@dataclass(frozen=True, eq=False)
class Run:
    """A config with dotted keys, and the numbers of its record by role; of a config alone there are none."""

    flat: Flat
    numbers: Flat | None = None

    @cached_property
    def scratch(self) -> bool:
        """Whether its weights are drawn anew after pruning: of the base only the shape is left."""
        return SCRATCH in str(self.flat.get("repair.name")).split(" + ")

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The trainings that its network is the result of, in order."""
        # A teacher is not given up with its weights.
        taught = self.flat.get("retrain.distill.weight") is not None or self.repair_trains
        return ("retrain",) if self.scratch and not taught else ("dense", "prune", "repair", "retrain")

    @cached_property
    def repair_trains(self) -> bool:
        """Whether a repair took steps; of a config alone, whether one of its repairs does."""
        if self.numbers is not None:
            return bool(self.number("repaired.training.samples"))
        return self._trains("repair")

    def _trains(self, method: str) -> bool:
        """Whether the config sets an option by which methods under this key take steps."""
        options = [key for key in self.flat if under(key, method) and key.rpartition(".")[2] in TRAINS]
        return any(self.flat[key] is not None for key in options)

    @cached_property
    def criterion_trains(self) -> bool:
        """Whether the scores were trained."""
        return self._trains("prune.criterion")

    @cached_property
    def after_pruning(self) -> int | None:
        """Samples that all steps after pruning took, those of a repair too; None if not known."""
        counted = [_counted(self, stage) for stage in ("repair", "retrain")]
        known = [samples for samples, _ in filter(None, counted)]
        return sum(known) if len(known) == len(counted) else None

    @cached_property
    def steering(self) -> tuple[str, ...]:
        """The keys that steer the steps of retraining, whatever its budget, rates and teacher."""
        return tuple(key for key in self.flat if _steers(key))

    def number(self, column: str) -> Number | None:
        return None if self.numbers is None else self.numbers.get(column)

    @cached_property
    def budget(self) -> Budget:
        """What the trainings behind its network took: base, pruning and retraining."""
        epochs = [_epochs(self, stage) for stage in self.trained]
        counted = [_counted(self, stage) for stage in self.trained]
        known = [c for c in counted if c is not None]
        all_known = len(known) == len(counted)
        batch = int(self.flat.get("retrain.batch") or 0)
        flops = int(self.number("pruned.flops") or 0)
        steps = [(batch, 3 * flops * batch)]
        if self.trained[0] == "dense" and counted[0] and self.flat.get("dense.steps") is not None:
            samples, cost = counted[0]
            batch = int(self.flat.get("dense.batch") or 0)
            steps.append((batch, cost * batch // max(samples, 1)))
        return Budget(
            None if None in epochs else sum((e for e in epochs if e is not None), Fraction(0)),
            sum(samples for samples, _ in known) if all_known else None,
            sum(cost for _, cost in known) if all_known else None,
            max(steps, key=lambda step: step[1]),
        )


def read(source: AnyRecord) -> Run:
    """Return the run of a record or of a config.

    Raises:
        IsopruneError: If it is neither.
    """
    if isinstance(source, Record):
        return Run(flatten(source.config), numbers_of(source))
    if not isinstance(source, Mapping) or not {"data", "model", "prune", "retrain"} <= source.keys():
        raise IsopruneError(
            "What is compared must be records, or configs with data, model, prune and retrain. "
            "Give what isoprune.experiment.run returns, or what load_records reads."
        )
    return Run(flatten(source))


@functools.cache
def _steers(key: str) -> bool:
    fits_the_budget = ("retrain.lr", "retrain.schedule", "retrain.distill")
    free = rung(key) is not Setup.S3_2 or any(under(key, prefix) for prefix in fits_the_budget)
    return under(key, "retrain") and not free


# The role of the network that a training ends with.
_TRAINED = {"dense": "dense", "prune": "pruned", "repair": "repaired", "retrain": "retrained"}


def _epochs(run: Run, stage: str) -> Fraction | None:
    if stage == "repair":
        return None if run.repair_trains else Fraction(0)
    if stage == "prune" and run.criterion_trains:
        return None
    key = "prune.train" if stage == "prune" else stage
    epochs = run.flat.get(f"{key}.epochs")
    if epochs is None:
        return Fraction(0) if stage == "prune" else None
    if not epochs and stage == "dense" and _comes_trained(run):
        return None
    # How many epochs so many steps are, a config alone cannot say.
    rounds = 1 if stage == "dense" else run.flat.get("repeat.rounds") or 1
    return Fraction(epochs) * rounds if run.flat.get(f"{key}.steps") is None else None


def _comes_trained(run: Run) -> bool:
    """Whether the dense network was trained elsewhere, for nobody knows how long."""
    return run.flat.get("model.weights") is not None or ":" in str(run.flat.get("model.name"))


def _counted(run: Run, stage: str) -> tuple[int, int] | None:
    """Return samples and multiply-adds of a training, as its record counted them."""
    if run.numbers is None:
        return None
    role = _TRAINED[stage]
    samples, cost = (run.number(f"{role}.training.{key}") for key in ("samples", "multiply_adds"))
    if samples is not None and cost is not None:
        return int(samples), int(cost)
    return (0, 0) if _epochs(run, stage) == 0 else None
