"""Training at the advised learning rate, and at the next lower one where that turns out too large."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment.digests import derived_seed
from isoprune.experiment.stages import Bench
from isoprune.training import Diverged, fit
from isoprune.types.files import read_json, write_json
from isoprune.verbs.advise import RATES, Probe, advise

# A training that ends so far below the probe of its rate, which had a fraction of its steps, has broken down.
_BROKEN = 0.05


def at_advised_rate(
    bench: Bench, model: nn.Module, how: Mapping[str, Any], settings: Mapping[str, Any], folder: Path
) -> tuple[nn.Module, list[dict[str, Any]], dict[str, Any]]:
    """Return the trained network, its history, and {"advice": ...}.

    A rate at which the training diverges, or ends below its own probe, is given up for the next lower one:
    ``given_up`` in the advice lists them.

    Args:
        how: What `fit` and `advise` share.
        settings: What `fit` takes besides; its checkpoint is made one a rate.

    Raises:
        Diverged: If it diverges at the lowest rate too.
    """
    state = settings["generator"].get_state()
    advice = _advice(bench, model, how, folder)
    # A rate that was not probed, or whose probe diverged, has nothing to stay below.
    reached = dict.fromkeys(advice["rates"], 0.0)
    reached |= {p["lr"]: p["accuracy"] or 0.0 for p in advice["probes"]}
    *larger, lowest = sorted((lr for lr in reached if lr <= advice["lr"]), reverse=True)
    given_up: list[float] = []

    def train(lr: float) -> tuple[nn.Module, list[dict[str, Any]], dict[str, Any]]:
        settings["generator"].set_state(state)
        own = settings["checkpoint"]
        if own is not None and given_up:
            own = own.with_name(f"{own.name}-{len(given_up)}")
        trained, history = fit(model, bench.splits, lr=lr, **how, **{**settings, "checkpoint": own})
        return trained, history, {"advice": {**advice, "lr": lr, "given_up": list(given_up)}}

    for lr in larger:
        try:
            done = train(lr)
        except Diverged:
            pass
        else:
            if done[1][-1]["validation_accuracy"] >= reached[lr] - _BROKEN:
                return done
        given_up.append(lr)
    return train(lowest)


def _advice(bench: Bench, model: nn.Module, how: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the advice on the rate; each probe is written down, so that none is run twice."""
    path = folder / "probes.json"
    try:
        found = read_json(path, remedy="Delete it and start again: the probes are run anew.")["probes"]
    except FileNotFoundError:
        found = []
    probes = [Probe(**probe) for probe in found]

    def note(probe: Probe) -> None:
        probes.append(probe)
        write_json(path, {"probes": [dataclasses.asdict(p) for p in probes]})
        bench.on_event({"probe": len(probes), "probes": len(RATES)})

    how = {"dense" if name == "teacher" else name: value for name, value in how.items()}
    seed = derived_seed(bench.experiment.seed, "advice")
    return advise(model, bench.splits, **how, seed=seed, done=tuple(probes), on_probe=note).as_dict()
