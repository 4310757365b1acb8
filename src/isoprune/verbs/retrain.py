"""Training after pruning, as one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from isoprune.methods.schedules import schedule_of
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.training import PLAIN, Distill, Loop, Saving, Trained, Training, Watch, fit
from isoprune.training.distill import read_distill
from isoprune.training.loop import read_loop
from isoprune.training.probe_cache import ProbeCache
from isoprune.training.processes import join
from isoprune.training.rates import Probe, at_or_below
from isoprune.training.settings import OptimizerChoice, Row, read_watch
from isoprune.training.source import data_of, source_of
from isoprune.types import CLASSIFICATION, IsopruneError, Network, Schedule, Task
from isoprune.types.seeded import seeded
from isoprune.types.task import task_with
from isoprune.verbs.advise import advise_on, probes_digest

logger = logging.getLogger("isoprune")


def retrain(
    network: Network,
    data: Any = None,
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
    loop: Loop | Mapping[str, Any] = PLAIN,
    dense: nn.Module | None = None,
    distill: Distill | Mapping[str, float] | None = None,
    seed: int = 0,
    watch: Watch | Callable[[Row], object] | None = None,
    saving: Saving | Path | str | None = None,
) -> Pruned:
    """Return the network retrained; the rows of its epochs are in ``history[-1]["rows"]``, see `fit`.

    Args:
        network: A `Pruned` or any module; left as it is. What its masks hold at zero stays zero.
        data: `Splits` or `Data`; or training data alone, as ``train``, which like ``validation`` is a
            DataLoader, a Dataset, or a list of batches.
        lr: The peak of the learning rate; "auto" asks `advise`, and goes to the next lower rate where the
            advised one turns out too large.
        schedule: A name in ``schedules.SCHEDULES``, with the default options of that function, or a schedule.
        task: What a batch means; ``loss`` and ``metrics`` put others into it.
        loss: (outputs, batch) -> scalar; a loss of torch gets ``batch[1]`` in place of the batch.
        metrics: Name -> (outputs, batch) -> number, or a `Metric`.
        optimizer: With ``batch``, ``momentum``, ``weight_decay`` and ``steps`` as in `Training`.
        loop: Options of the steps, see `Loop`: {"precision": "bf16"}.
        distill: {"weight": 0.9, "temperature": 4.0}: learn from the dense network's outputs as well.
        dense: The network to learn from, in place of the one that a `Pruned` knows.
        seed: Decides the order of the samples.
        watch: Who sees the epochs: a function that is called with each row, or a `Watch`.
        saving: Where all state is written, so that an interrupted call goes on: a path, or `Saving`. The
            finished probes of "auto" are in ``<path>-probes.json``, and are not run again.

    Raises:
        IsopruneError: If the data and the task do not fit the network.
        Diverged: If the loss becomes NaN or infinite.
    """
    if isinstance(lr, str) and lr != "auto":
        raise IsopruneError(f'lr is {lr!r}. Give a number, or "auto".')
    given, pruned = data_of(data, train, validation), as_pruned(network)
    task = task_with(task, loss, metrics)
    if dense is None and isinstance(network, Pruned):
        dense = pruned.dense
    learned = read_distill(distill, dense)
    watch = read_watch(watch)
    kept = saving
    if kept is not None and not isinstance(kept, Saving):
        kept = Saving(kept)  # pyright: ignore[reportArgumentType]  it makes a path of text
    rate = 0.0 if lr == "auto" else lr
    how = schedule_of(schedule, epochs), batch, steps, optimizer, momentum, weight_decay, read_loop(loop)
    training = Training(epochs, rate, *how)
    training.check()
    source = source_of(given.train, batch)

    def at(lr: float) -> Trained:
        own = kept
        if own is not None and advice is not None and lr != advice["lr"]:
            own = replace(own, path=own.path.with_name(f"{own.path.name}-{lr:g}"))
        return fit(
            pruned.model, given, replace(training, lr=lr), generator=seeded(seed),
            task=task, distill=learned, watch=watch, saving=own,
        )  # fmt: skip

    advice = None
    if lr == "auto":
        probed: dict[str, Any] = {"task": task, "distill": learned, "seed": seed}
        known, keep = _kept_probes(
            kept, pruned.model, lambda: probes_digest(pruned.model, source, training, **probed)
        )
        advice = advise_on(pruned.model, source, training, **probed, done=known, on_probe=keep).as_dict()
        rate, trained, advice["given_up"] = at_or_below(advice, at)
    else:
        trained = at(rate)
    done = {"step": "retrain", "lr": rate, "epochs": epochs, "task": task.name, "rows": trained.history}
    if advice is not None:
        done["advice"] = advice
    # As long as nothing went, the network before anything goes is the trained one.
    dense = pruned.dense if pruned.plan else trained.model
    example = pruned.example_inputs
    if example is None:
        example = task.inputs_of(source.first())
    history = (*pruned.history, done)
    return replace(pruned, model=trained.model, dense=dense, example_inputs=example, history=history)


def _kept_probes(
    saving: Saving | None, model: nn.Module, digest: Callable[[], str]
) -> tuple[list[Probe], Callable[[Probe], object]]:
    """Return the probes that an interrupted call left beside its checkpoint, and what keeps one more.

    Several processes that train together begin with the main one's, as they must take the same steps.
    """
    if saving is None:
        return [], lambda _: None
    here, path = join(model), saving.path.with_name(f"{saving.path.name}-probes.json")
    cache = ProbeCache(path, digest(), "Give another path: saving=.")

    def stored() -> list[Probe]:
        cache.require_writable()
        if damage := cache.damage():
            logger.warning("%s", damage)
        return list(cache.read().values())

    return here.from_main(stored), lambda probe: cache.add(probe) if here.main else None
