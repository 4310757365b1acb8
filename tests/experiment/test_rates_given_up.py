"""An advised rate that breaks down is given up for the next lower one, killed or not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from experiment.advised import AUTO, WILD, Killed, advice_of, auto, chosen, done, same
from experiment.tiny import bits
from isoprune.experiment.pipeline import run, splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps import advised_rate as advised
from isoprune.experiment.steps import train
from isoprune.experiment.steps.rewind import kept_path
from isoprune.experiment.store import Store
from isoprune.training import Diverged
from isoprune.verbs.advise import advise_on

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture
def misled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes the advice wrong: the highest of the rates, which the best probes speak for."""

    def mislead(*rates: float, accuracy: float = 0.0, where: Callable[[Any], bool] = lambda _: True) -> None:
        def wrong(model: Any, *args: Any, **how: Any) -> Any:
            right = advise_on(model, *args, **how)
            if not where(model):
                return right
            probe = right.probes[0]
            probes = tuple(dataclasses.replace(probe, lr=lr, metric_value=accuracy) for lr in rates)
            return dataclasses.replace(right, lr=rates[-1], rates=rates, probes=probes)

        monkeypatch.setattr(advised, "advise_on", wrong)

    return mislead


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the seconds of every training, those that diverge too."""
    seconds: list[float] = []
    given = train.fit

    def fit(*args: Any, **how: Any) -> Any:
        before = time.perf_counter()
        try:
            return given(*args, **how)
        finally:
            seconds.append(time.perf_counter() - before)

    monkeypatch.setattr(train, "fit", fit)
    return seconds


def test_a_rate_that_diverges_is_given_up_for_the_next_lower(
    misled: Callable[..., None], timed: list[float], tmp_path: Path
):
    misled(0.01, 0.05, WILD, 10 * WILD)
    store = Store(tmp_path)
    record = run(auto(), store)
    assert chosen(record) == (0.05, [10 * WILD, WILD])
    assert sum(timed[-3:]) < record.network("retrained").seconds
    plainly = run(auto(retrain=AUTO | {"lr": 0.05}), store)
    assert same(done(record, store), done(plainly, store))
    assert bits(record.network("retrained").history) == bits(plainly.network("retrained").history)
    probes = sum(
        _samples(len(splits_of(resolve(auto())).train) - advice_of(record)["judge_samples"], p["steps"])
        for p in advice_of(record)["probes"]
    )
    trained = plainly.network("retrained").training.samples
    assert record.network("retrained").training.samples == 3 * trained + probes


def _samples(train: int, steps: int) -> int:
    sizes = [min(AUTO["batch"], train - start) for start in range(0, train, AUTO["batch"])]
    return sum(sizes[step % len(sizes)] for step in range(steps))


def test_a_rate_that_ends_far_below_its_probe_is_given_up(misled: Callable[..., None], tmp_path: Path):
    misled(0.02, 0.05, 0.06, accuracy=1.5)
    store = Store(tmp_path)
    record = run(auto(), store)
    # The lowest has no next one.
    assert chosen(record) == (0.02, [0.06, 0.05])
    assert same(done(record, store), done(run(auto(retrain=AUTO | {"lr": 0.02}), store), store))


def test_a_rate_that_was_not_probed_is_taken_after_one_that_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def wrong(*args: Any, **how: Any) -> Any:
        right = advise_on(*args, **how)
        probe = dataclasses.replace(right.probes[0], lr=WILD)
        return dataclasses.replace(right, lr=WILD, rates=(0.01, 0.04, WILD), probes=(probe,))

    monkeypatch.setattr(advised, "advise_on", wrong)
    record = run(auto(), Store(tmp_path))
    assert chosen(record) == (0.04, [WILD])


@pytest.mark.matrix
@pytest.mark.parametrize("epoch", [0, 3])
def test_interrupted_at_the_second_rate_the_bits_are_those_of_an_unbroken_run(
    epoch: int, misled: Callable[..., None], tmp_path: Path
):
    misled(0.02, 0.05, WILD)
    wanted = run(auto(), Store(tmp_path / "unbroken"))
    reached: list[int] = []

    def kill(event: Any) -> None:
        if event.get("stage") == "retrained":
            reached.append(event["epoch"])
            if reached.count(epoch) == (2 if epoch == 0 else 1):  # epoch 0 of the first rate is no news
                raise Killed

    store = Store(tmp_path / "broken")
    with pytest.raises(Killed):
        run(auto(), store, on_event=kill)
    record = run(auto(), store)
    assert bits(record) == bits(wanted)
    assert same(done(record, store), done(wanted, Store(tmp_path / "unbroken")))
    assert not list(store.root.rglob("checkpoint"))


def test_diverging_at_the_lowest_rate_too_is_told_with_the_rate(misled: Callable[..., None], tmp_path: Path):
    misled(WILD, 10 * WILD)
    told = r"^retrained \w+, seed 0: The loss is .* at learning rate [\d.]+e\+\d\d\. Lower lr\."
    with pytest.raises(Diverged, match=told) as caught:
        run(auto(), Store(tmp_path))
    assert WILD / 25 < (caught.value.lr or 0) <= WILD  # between one_cycle's start and its peak


@pytest.mark.parametrize("kept", [True, False], ids=["kept while training", "trained once more"])
def test_rewinding_goes_to_the_epoch_of_the_rate_that_was_not_given_up(
    kept: bool, misled: Callable[..., None], tmp_path: Path
):
    misled(0.01, 0.05, WILD)
    store = Store(tmp_path / "auto")
    measured = {"dense": AUTO, "retrain": {"epochs": 0}}
    if not kept:
        run(auto(**measured), store)
    record = run(auto(**measured, rewind=2), store)
    plain = Store(tmp_path / "plain")
    numbers = {"dense": AUTO | {"lr": 0.05}, "retrain": {"epochs": 0}}
    wanted = run(auto(**numbers, rewind=2), plain)
    assert same(done(record, store, "repaired"), done(wanted, plain, "repaired"))
    ours, theirs = (
        load_file(kept_path(s.folder(r.network("dense").digest), 2))
        for s, r in ((store, record), (plain, wanted))
    )
    assert same(ours, theirs)
