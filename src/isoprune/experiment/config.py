"""What an experiment is: frozen data, read strictly from TOML (or from a record's config).

A recipe is a list of steps, each makes a network from the one before:

```toml
seed = 0
data = "digits"
model = "mlp_7"

[[steps]]
kind = "train"                                   # the dense network
epochs = 20
lr = 1e-2

[[steps]]
kind = "repeat"                                  # five rounds that remove 80 % in all
rounds = 5
cadence = { name = "by_cycle", ratio = 0.8 }     # how much goes in which round

[[steps.steps]]
kind = "prune"
criterion = "l1_norm"

[[steps.steps]]
kind = "rewind"                                  # to the weights of the dense training after epoch 2
epoch = 2

[[steps.steps]]
kind = "retrain"
epochs = 18
lr = 1e-2
```

``repair`` with its ``method`` is the sixth kind. ``task`` is "classification", or "module:object" of your
own. The short form of the usual recipe has the sections
``[dense]``, ``[prune]``, ``[repair]`` and ``[retrain]``, and ``rewind = 2``, in place of ``steps``.

Every key is checked here, before torch is imported and long before a network is trained: its name,
its type, its range. Whether a method exists and knows its options is checked by `signatures`, against
the method's own signature.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from isoprune.experiment.choice import Chain, Choice, choice
from isoprune.experiment.config_checks import check
from isoprune.experiment.step_types import (
    Distilling,
    Measuring,
    Prune,
    Pruning,
    Repair,
    Repeat,
    Retrain,
    Rewind,
    Seed,
    Step,
    Train,
    TrainingConfig,
    Whole,
    kind_of,
    step_dict,
    usual_role,
)
from isoprune.experiment.validation import plain, read
from isoprune.types.config_keys import ALONE, SECTIONS
from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_file

__all__ = [
    "Choice", "Distilling", "Experiment", "Measuring", "Pruning", "TrainingConfig", "choice", "experiment",
    "read_toml",
]  # fmt: skip


class _Common(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    # What every form of a config has.
    seed: Seed = 0
    data: Choice
    model: Choice
    task: str = "classification"
    measure: Measuring = Measuring()


class _ShortForm(_Common, frozen=True, kw_only=True):
    dense: TrainingConfig
    prune: Pruning
    rewind: Whole | None = None
    repair: Chain = Chain("none")
    retrain: TrainingConfig


class Experiment(_Common, frozen=True, kw_only=True):
    """One way from data to a network; equal experiments give equal bits.

    ``dense``, ``prune``, ``repair`` and ``retrain`` are those of the short form: the first step of the kind.
    """

    steps: tuple[Step, ...]

    @property
    def dense(self) -> TrainingConfig:
        return self._first(Train) or TrainingConfig(0)

    @property
    def prune(self) -> Pruning:
        return self._first(Prune) or Pruning(0.0)

    @property
    def rewind(self) -> int | None:
        step = self._first(Rewind)
        return None if step is None else step.epoch

    @property
    def repair(self) -> Choice:
        step = self._first(Repair)
        return Choice("none") if step is None else step.method

    @property
    def retrain(self) -> TrainingConfig:
        return self._first(Retrain) or TrainingConfig(0)

    def _first(self, kind: type) -> Any:
        every = [
            inner for step in self.steps for inner in (step.steps if isinstance(step, Repeat) else (step,))
        ]
        return next((step for step in every if isinstance(step, kind)), None)

    @property
    def is_short(self) -> bool:
        """Whether the short form can express it."""
        kinds = [kind_of(step) for step in self.steps]
        needed = {"train", "prune", "repair"} <= set(kinds)
        usual = not any(isinstance(s, Repeat) or s.role != usual_role(s) for s in self.steps)
        return needed and usual and kinds == [kind for kind in SECTIONS if kind in kinds]

    def keyed(self) -> Iterator[tuple[str, Step]]:
        """Yield the steps, each with the key under which a file has it; a repeat comes before its own."""
        if self.is_short:
            yield from ((SECTIONS[kind_of(step)], step) for step in self.steps)
            return
        for i, step in enumerate(self.steps):
            yield f"steps[{i}]", step
            for j, inner in enumerate(step.steps if isinstance(step, Repeat) else ()):
                yield f"steps[{i}].steps[{j}]", inner

    def as_dict(self) -> dict[str, Any]:
        """Return the record's ``config``: plain JSON, read back by `experiment`."""
        common = plain({name: getattr(self, name) for name in _Common.__struct_fields__})
        measure = common.pop("measure")
        if not self.is_short:
            return {**common, "steps": [step_dict(step) for step in self.steps], "measure": measure}
        sections: dict[str, Any] = {"rewind": None, "retrain": {"epochs": 0}}
        for step in self.steps:
            section = step_dict(step)
            kind = section.pop("kind")
            del section["role"]
            sections[SECTIONS[kind]] = section[ALONE[kind]] if kind in ALONE else section
        in_order = {key: sections[key] for key in SECTIONS.values()}
        return {**common, **in_order, "measure": measure}


def experiment(table: Mapping[str, Any]) -> Experiment:
    """Return the experiment that a table (a TOML file's, a record's config) describes.

    Raises:
        IsopruneError: For an unknown or missing key, a wrong type, a number out of range.
    """
    if "steps" in table:
        made: Experiment = read(Experiment, table)
    else:
        short: _ShortForm = read(_ShortForm, table)
        common = {name: getattr(short, name) for name in _Common.__struct_fields__}
        made = Experiment(**common, steps=tuple(_steps(short)))
    check(list(made.keyed()))
    return made


def _steps(short: _ShortForm) -> Iterator[Step]:
    yield Train(**structs.asdict(short.dense))
    yield Prune(**structs.asdict(short.prune))
    if short.rewind is not None:
        yield Rewind(short.rewind)
    yield Repair(short.repair)
    if short.retrain.epochs:
        yield Retrain(**structs.asdict(short.retrain))


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's table; errors name the file and the line."""
    try:
        return tomllib.loads(read_file(path).decode())
    except FileNotFoundError:
        raise IsopruneError(
            f"No file {path}. Give the path of a TOML file, for example studies/lr_effect.toml."
        ) from None
    except UnicodeDecodeError as error:
        raise IsopruneError(f"{path} is not UTF-8 text ({error.reason}). Give a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise IsopruneError(f"{path} is not valid TOML: {error}.") from None
    except RecursionError:
        raise IsopruneError(f"{path} is nested deeper than any experiment. Give a TOML file.") from None
