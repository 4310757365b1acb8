"""Training at the advised learning rate, and at the next lower one where that turns out too large."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment.step_result import Bench
from isoprune.training import Distill, Trained, Training
from isoprune.training.probe_cache import read_probes, write_probes
from isoprune.training.rates import Probe, at_or_below
from isoprune.training.source import source_of
from isoprune.types.files import DamagedFile
from isoprune.types.seeded import derived_seed
from isoprune.verbs.advise import SHARE, advise_on, usual_rates


def at_advised_rate(
    bench: Bench,
    model: nn.Module,
    training: Training,
    distill: Distill | None,
    folder: Path,
    train: Callable[[float], Trained],
    *,
    share: float | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Return the trained network with its history, and {"advice": ...}; see `at_or_below`.

    Args:
        training: Of which the rate is advised on.
        train: Trains at a rate.
        share: Of the training, for the probe of one rate, whose weights are then not averaged: BatchNorm's
            statistics of a mean take longer than the probe. 0: nothing is probed. None: as `advise` has it.

    Raises:
        Diverged: If it diverges at the lowest rate too.
    """
    advice = _advice(bench, model, training, distill, folder, share)
    lr, trained, given_up = at_or_below(advice, train)
    return trained, {"advice": {**advice, "lr": lr, "given_up": given_up}}


def _advice(
    bench: Bench,
    model: nn.Module,
    training: Training,
    distill: Distill | None,
    folder: Path,
    share: float | None,
) -> Mapping[str, Any]:
    """Return the advice on the rate; each probe is written down, so that none is run twice."""
    path = folder / "probes.json"
    try:
        probes = read_probes(path, folder.name)
    except DamagedFile as error:
        bench.on_event({"say": f"{error} The probes are run again now."})
        probes = []

    def note(probe: Probe) -> None:
        probes.append(probe)
        write_probes(path, folder.name, probes)
        bench.on_event({"probe": len(probes), "probes": len(usual_rates(training.optimizer))})

    if share is not None:
        training = dataclasses.replace(training, loop=dataclasses.replace(training.loop, average=0.0))
    return advise_on(
        model,
        source_of(bench.splits.train, training.batch),
        training,
        task=bench.task,
        distill=distill,
        seed=derived_seed(bench.seed, "advice"),
        share=SHARE if share is None else share,
        done=tuple(probes),
        on_probe=note,
    ).as_dict()
