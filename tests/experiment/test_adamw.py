"""optimizer = "adamw" in a file: its step, its rates, and the same bits after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiment.tiny import CONFIG, assert_same_bits, tiny, weights
from isoprune.experiment.config import Experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.verbs.advise import ADAPTIVE_RATES

pytestmark = pytest.mark.usefixtures("_one_thread")

AUTO = {"epochs": 3, "lr": "auto", "optimizer": "adamw", "batch": 50, "jsv_samples": 0}


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def auto() -> Experiment:
    return tiny(repair="none", retrain=AUTO)


def test_its_first_step_is_as_long_as_the_rate_whatever_the_gradient_is(tmp_path: Path):
    """Both means of the gradient g, freed of their bias, are g and g²: a step is lr (sign g + decay w)."""
    lr, decay = 1e-3, 0.1
    how = {"epochs": 1, "steps": 1, "lr": lr, "optimizer": "adamw", "weight_decay": decay, "batch": 50}
    store = Store(tmp_path)
    made = weights(store, run(tiny(repair="none", retrain=how), store))
    moved = 0
    for name, before in made["pruned"].items():
        steps = (made["retrained"][name] - before * (1 - lr * decay)) / lr
        assert bool((steps.abs() < 1.01).all())  # float32
        moved += int((steps.abs() > 0.99).sum())
    # But for weights behind an input or a unit that is 0 for all samples, which have no gradient.
    assert moved > 0.5 * sum(tensor.numel() for tensor in made["pruned"].values())


def test_the_rate_is_chosen_from_those_of_adamw(tmp_path: Path):
    advice = run(auto(), Store(tmp_path)).network("retrained").advice
    assert tuple(advice["rates"]) == ADAPTIVE_RATES
    assert {probe["lr"] for probe in advice["probes"]} <= {*ADAPTIVE_RATES}


@pytest.mark.parametrize("moment", [{"probe": 2}, {"stage": "retrained", "epoch": 2}])
def test_interrupted_the_bits_are_those_of_an_unbroken_run(moment: dict[str, Any], tmp_path: Path):
    def kill(event: Any) -> None:
        if moment.items() <= event.items():
            raise Killed

    store, whole = Store(tmp_path / "killed"), Store(tmp_path / "whole")
    with pytest.raises(Killed):
        run(auto(), store, on_event=kill)
    assert_same_bits((store, run(auto(), store)), (whole, run(auto(), whole)))


def test_adamw_and_sgd_end_elsewhere_from_the_same_network(tmp_path: Path):
    store = Store(tmp_path)
    a, b = (run(tiny(retrain=CONFIG["retrain"] | {"optimizer": o}), store) for o in ("sgd", "adamw"))
    ours, theirs = weights(store, a), weights(store, b)
    assert a.network("repaired").digest == b.network("repaired").digest
    assert not any(torch.equal(ours["retrained"][name], t) for name, t in theirs["retrained"].items())
