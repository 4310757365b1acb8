"""`isoprune.diagnose`: the verdict on a network, and what every repair would restore, tried on a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import islice
from typing import Any

from torch import nn

from isoprune import isometry
from isoprune.forecast import Fitted
from isoprune.isometry import Diagnosis
from isoprune.isometry.effort import BUDGET
from isoprune.isometry.picks import InputPick, OutputPick
from isoprune.methods.repairs import REPAIRS
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.pruning.whole_layer import with_whole_layer
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import batches_of
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.errors import pick
from isoprune.types.method import takes_steps
from isoprune.types.methods import Repaired
from isoprune.types.network import Network, module_of
from isoprune.types.seeded import seeded
from isoprune.types.task import CLASSIFICATION, Task
from isoprune.verbs.forecast import check_retrain_samples, forecast_of
from isoprune.verbs.repair import require_needs

_SUPPLIED = ("pruned", "signals", "generator")
_NOTHING = ("none", "chain")  # they return a copy: a chain without steps too
_KEPT = 64  # batches of an iterator that can be read once: so many are kept for the repairs


def diagnose(
    network: Network,
    batches: Iterable[Any],
    dense: nn.Module | None = None,
    *,
    task: Task = CLASSIFICATION,
    repairs: Iterable[str] | None = None,
    samples: int | None = None,
    budget: float | int = BUDGET,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    seed: int = 0,
    retrain_samples: int | None = None,
    validation: Any = None,
    fitted: Fitted | None = None,
) -> Diagnosis:
    """Return whether a network is fit to be retrained, which layers lost it, and what each repair restores.

    Args:
        network: What `isoprune.prune` returned, or a module; measured in eval mode.
        batches: Their first inputs are measured; repairs that need data get them too, so give training data.
        dense: The network before pruning, where ``network`` is a module; a `Pruned` knows its own. Without
            it, the verdict is about the network as it is.
        task: What a batch means.
        repairs: Names that `isoprune methods repair` lists, each tried on a copy. None: all, unless the
            network is healthy. Those that refuse are in ``refused`` with their reason.
        retrain_samples: Samples of the retraining to come, epochs times training samples. Given, ``forecast``
            is the accuracy that it will reach, with intervals and what moves it, or says why there is none:
            see `forecast_of`, which says what it costs.
        validation: Labelled data, of which the forecast takes the dense network's accuracy.
        fitted: The forecast's, from `isoprune.forecast.read_fitted`. None: what comes with isoprune.

    Other arguments, and what raises, as in `isoprune.isometry.diagnose`.
    """
    if retrain_samples is not None:
        check_retrain_samples(retrain_samples)
    pruned = as_pruned(network)
    batches = batches_of(islice(batches, _KEPT) if isinstance(batches, Iterator) else batches)
    if dense is not None:
        pruned = replace(pruned, dense=module_of(dense))
    before = pruned.dense if pruned is network or dense is not None else None
    measured = _Inputs(batches, task)
    where: dict[str, Any] = {"input": input, "output": output, "memory": memory, "seed": seed}
    with in_eval_mode(pruned.dense) if before is not None else nullcontext():
        spare = partial(with_whole_layer, pruned)
        diagnosis = isometry.diagnose(
            pruned.model, measured, before, spare=spare, samples=samples, budget=budget, **where
        )
    if repairs is None:
        repairs = () if diagnosis.verdict == "healthy" else every_repair()
    tried = try_repairs(pruned, repairs, batches=batches, task=task, seed=seed)
    diagnosis = isometry.with_repairs(diagnosis, tried, measured, **where)
    if retrain_samples is None:
        return diagnosis
    forecast = forecast_of(
        pruned, batches, samples=retrain_samples, validation=validation, task=task, fitted=fitted, seed=seed
    )
    return replace(diagnosis, forecast=forecast)


class _Inputs:
    """(inputs, batch) of every batch, as often as it is asked for."""

    def __init__(self, batches: Iterable[Any], task: Task) -> None:
        self.batches, self.task = batches, task

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return ((self.task.inputs_of(batch), batch) for batch in self.batches)


def every_repair() -> list[str]:
    """Return the names of all repairs that do something by themselves, without an option or training."""
    return [
        name
        for name, method in REPAIRS.items()
        if name not in _NOTHING
        and not takes_steps(method)
        and all(
            p.default is not p.empty or p.name in _SUPPLIED for p in signature(method).parameters.values()
        )
    ]


def try_repairs(
    network: Network,
    names: Iterable[str],
    *,
    batches: Iterable[Any] | None = None,
    task: Task = CLASSIFICATION,
    seed: int = 0,
) -> Iterator[tuple[str, nn.Module | str]]:
    """Yield the name of each repair with the network that it makes, in eval mode, or with why it does not.

    Raises:
        IsopruneError: If a name is unknown, before anything is tried.
    """
    methods = {name: pick(REPAIRS, name, "repair") for name in names}
    pruned = as_pruned(network)
    return _try_each(methods, pruned, Signals(pruned.model, batches, task), seed)


def _try_each(
    methods: Mapping[str, Callable[..., Any]], pruned: Pruned, signals: Signals, seed: int
) -> Iterator[tuple[str, nn.Module | str]]:
    for name, method in methods.items():
        generator = seeded(seed)
        try:
            require_needs(method, pruned, signals.batches)
            repaired = Repaired.of(method(pruned, signals, generator=generator)).model
        except IsopruneError as error:
            yield name, str(error)
        except (
            Exception
        ) as error:  # a repair that stumbles over somebody's forward must not end the diagnosis
            yield name, f"It failed on this network: {type(error).__name__}: {error}"
        else:
            yield name, repaired.eval()
