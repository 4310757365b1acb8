"""Training after pruning, as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from isoprune.methods import schedules
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.training import PLAIN, Distill, Loop, Saving, Trained, Training, Watch, fit
from isoprune.training.distill import read_distill
from isoprune.training.rates import at_or_below
from isoprune.training.settings import OptimizerChoice
from isoprune.training.source import source_of
from isoprune.types import CLASSIFICATION, Data, IsopruneError, Network, Schedule, Splits, Task
from isoprune.types.seeded import seeded
from isoprune.types.task import task_with
from isoprune.verbs.advise import advise


def retrain(
    network: Network,
    data: Data | Splits | None = None,
    *,
    train: Any = None,
    validation: Any = None,
    lr: float | Literal["auto"] = "auto",
    epochs: int = 30,
    schedule: str | Schedule = "one_cycle",
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metrics: Mapping[str, Any] | None = None,
    optimizer: OptimizerChoice = "sgd",
    batch: int | None = None,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    steps: int | None = None,
    loop: Loop = PLAIN,
    dense: nn.Module | None = None,
    distill: Distill | Mapping[str, float] | None = None,
    seed: int = 0,
    watch: Watch | None = None,
    saving: Saving | Path | None = None,
) -> Pruned:
    """Return the network retrained; the rows of its epochs are in ``history[-1]["rows"]``, see `fit`.

    Args:
        network: A `Pruned` or any module; left as it is. What its masks hold at zero stays zero.
        data: `Splits` or `Data`; or give ``train`` and ``validation``, each a DataLoader, a Dataset, or a
            list of batches.
        lr: The peak of the learning rate; "auto" asks `advise`, and goes to the next lower rate where the
            advised one turns out too large.
        schedule: A name in ``schedules.SCHEDULES``, with the default options of that function, or a schedule.
        task: What a batch means; ``loss`` and ``metrics`` put others into it.
        loss: (outputs, batch) -> scalar; a loss of torch gets ``batch[1]`` in place of the batch.
        metrics: Name -> (outputs, batch) -> number, or a `Metric`.
        optimizer: With ``batch``, ``momentum``, ``weight_decay``, ``steps`` and ``loop`` as in `Training`.
        distill: {"weight": 0.9, "temperature": 4.0}: learn from the dense network's outputs as well.
        dense: The network to learn from, in place of the one that a `Pruned` knows.
        seed: Decides the order of the samples.
        watch: Who sees the epochs.
        saving: Where all state is written, so that an interrupted call goes on.

    Raises:
        IsopruneError: If the data and the task do not fit the network.
        Diverged: If the loss becomes NaN or infinite.
    """
    if data is None:
        data = Data(train, validation)
    if data.train is None:
        raise IsopruneError("There is nothing to train on. Give train=loader and validation=loader.")
    pruned = as_pruned(network)
    if isinstance(schedule, str):
        schedule = schedules.build(schedule, epochs=max(epochs, 1))
    if isinstance(saving, Path):
        saving = Saving(saving)
    task = task_with(task, loss, metrics)
    if dense is None and isinstance(network, Pruned):
        dense = pruned.dense
    distill = read_distill(distill, dense)
    source = source_of(data.train, batch)
    plan = Training(epochs, 0.0, schedule, batch, steps, optimizer, momentum, weight_decay, loop)

    def at(lr: float) -> Trained:
        generator = seeded(seed)
        own = saving
        if own is not None and advice is not None and lr != advice["lr"]:
            own = replace(own, path=own.path.with_name(f"{own.path.name}-{lr:g}"))
        how: dict[str, Any] = {"task": task, "distill": distill, "watch": watch, "saving": own}
        return fit(pruned.model, data, replace(plan, lr=lr), generator=generator, **how)

    advice = None
    if lr == "auto":
        found = advise(
            pruned.model,
            train=source,
            epochs=epochs,
            schedule=schedule,
            steps=steps,
            task=task,
            optimizer=optimizer,
            momentum=momentum,
            weight_decay=weight_decay,
            loop=loop,
            distill=distill,
            seed=seed,
        )
        advice = found.as_dict()
        lr, trained, given_up = at_or_below(advice, at)
        advice["given_up"] = given_up
    else:
        trained = at(lr)
    done = {"step": "retrain", "lr": lr, "epochs": epochs, "task": task.name, "rows": trained.history}
    if advice is not None:
        done["advice"] = advice
    # As long as nothing went, the network before anything goes is the trained one.
    dense = pruned.dense if pruned.plan else trained.model
    example = pruned.example_inputs
    if example is None:
        example = task.inputs_of(source.first())
    history = (*pruned.history, done)
    return replace(pruned, model=trained.model, dense=dense, example_inputs=example, history=history)
