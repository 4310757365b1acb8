"""`isoprune.measures`: numbers of a network right after pruning."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isoprune.methods.measures import MEASURES, Measure, measured
from isoprune.pruning.pruned import as_pruned
from isoprune.signals.samples import batches_of
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.errors import pick
from isoprune.types.method import name_of
from isoprune.types.network import Network
from isoprune.types.seeded import seeded
from isoprune.types.shown import shown
from isoprune.types.task import CLASSIFICATION, Task


@shown
@dataclass(frozen=True, repr=False)
class Measures:
    """The measured numbers of a network.

    Attributes:
        numbers: By their names, which are of all measures; None where a number is not finite.
        refused: By the measure, why it says nothing of this network.
        seconds: By the measure, what it took alone; nothing is shared between measures.
    """

    numbers: Mapping[str, float | None]
    refused: Mapping[str, str]
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        width = max(map(len, [*self.numbers, *self.refused]), default=0)
        lines = [f"{k:<{width}}  {'-' if v is None else f'{v:.4g}'}" for k, v in self.numbers.items()]
        return "\n".join([*lines, *(f"{name:<{width}}  {why}" for name, why in self.refused.items())])


def measures(
    network: Network,
    batches: Iterable[Any] | None = None,
    *,
    names: Iterable[str | Measure] | None = None,
    task: Task = CLASSIFICATION,
    seed: int = 0,
) -> Measures:
    """Return the numbers of each measure that can be told of a network; the network stays as it is.

    A measure that lacks what it needs, or fails on this network, is in ``refused`` with the reason.

    Args:
        network: What `isoprune.prune` or a later verb returned, or a module, which knows no dense network.
        batches: Training data, such as (inputs, labels); a measure reads the first of its samples.
        names: Those that `isoprune methods measure` lists, or functions of that signature, options bound
            with functools.partial. None: all.
        task: What a batch means.
        seed: For measures that draw, each from its own generator.

    Raises:
        IsopruneError: If a name is unknown, or two measures give one number.
    """
    wanted = MEASURES if names is None else names
    functions = [pick(MEASURES, one, "measure") if isinstance(one, str) else one for one in wanted]
    pruned = as_pruned(network)
    if batches is not None:
        batches = batches_of(batches)
    numbers: dict[str, float | None] = {}
    refused: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for function in functions:
        name, generator, began = name_of(function), seeded(seed), time.perf_counter()
        signals = Signals(pruned.model, batches, task, example=pruned.example_inputs)
        try:
            found = measured(function, pruned, signals, generator=generator)
        except IsopruneError as error:
            refused[name] = str(error)
            continue
        except Exception as error:  # a measure that stumbles over somebody's forward must not end the others
            refused[name] = f"It failed on this network: {type(error).__name__}: {error}"
            continue
        seconds[name] = time.perf_counter() - began
        if twice := numbers.keys() & found.keys():
            raise IsopruneError(
                f"Two measures give {sorted(twice)[0]!r}. Name each measure once, and its numbers otherwise "
                "than those of isoprune."
            )
        numbers |= {key: float(value) if math.isfinite(value) else None for key, value in found.items()}
    return Measures(numbers, refused, seconds)
