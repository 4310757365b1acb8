"""The steps of an experiment in their order: rounds unrolled, each with the digest of all before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from isoprune.experiment.config import Experiment
from isoprune.experiment.digests import counted, digest
from isoprune.experiment.signatures import round_ratios
from isoprune.experiment.step_types import Prune, Repeat, Single, TrainingConfig, step_dict, usual_role


@dataclass(frozen=True)
class PlacedStep:
    """A step where it stands in the recipe.

    Attributes:
        step: With the ratio of its round.
        place: 0 the first, rounds counted one by one.
        round: From 1; 0 where nothing is repeated.
        number: How many steps of its kind came before: each has random streams of its own.
        digest: Of the data, the network and all steps so far: what its result lies under.
        config: What the digest is of.
    """

    step: Single
    place: int
    round: int
    number: int
    digest: str
    config: dict[str, Any]

    @property
    def role(self) -> str:
        return self.step.role

    @property
    def label(self) -> str:
        """The role, and the round if there are any."""
        return f"{self.role} (round {self.round})" if self.round else self.role

    def stream(self, name: str = "") -> str:
        """Return the name of a random stream: the first step of a kind has the plain one."""
        name = name or usual_role(self.step)
        return f"{name} {self.number + 1}" if self.number else name

    @property
    def training(self) -> TrainingConfig | None:
        """The training in it, if there is any."""
        if isinstance(self.step, TrainingConfig):
            return self.step
        return self.step.train if isinstance(self.step, Prune) else None

    @property
    def epochs(self) -> int:
        return 0 if self.training is None else self.training.epochs


def placed(experiment: Experiment) -> tuple[PlacedStep, ...]:
    """Return the steps of a resolved experiment, one after the other."""
    common = experiment.as_dict()
    config = {key: common[key] for key in ("seed", "data", "model", "task")}
    before: list[Any] = []
    seen: Counter[type] = Counter()
    made = []
    for step, number in _unrolled(experiment):
        before = [*before, counted(step_dict(step))]
        whole = {**config, "steps": before}
        made.append(PlacedStep(step, len(made), number, seen[type(step)], digest(whole), whole))
        seen[type(step)] += 1
    return tuple(made)


def _unrolled(experiment: Experiment) -> Iterator[tuple[Single, int]]:
    for step in experiment.steps:
        if not isinstance(step, Repeat):
            yield step, 0
            continue
        ratios = [None] * step.rounds if step.cadence is None else round_ratios(step.cadence, step.rounds)
        for number, ratio in enumerate(ratios, 1):
            for inner in step.steps:
                goes = isinstance(inner, Prune) and ratio is not None
                yield (structs.replace(inner, ratio=ratio) if goes else inner), number
