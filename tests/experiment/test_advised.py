"""lr = "auto": the advised rate is the one trained at, a rate that breaks down is given up, killed or not."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import to_builtins
from safetensors.torch import load_file

from experiment.tiny import HERE, bits, one_thread, role_digest, tiny
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.pipeline import run, splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps import advised_rate as advised
from isoprune.experiment.steps import train
from isoprune.experiment.steps.rewind import kept_path
from isoprune.experiment.store import Store
from isoprune.training import Diverged
from isoprune.types import IsopruneError
from isoprune.types.record import Record
from isoprune.types.training_cost import samples_estimated
from isoprune.verbs.advise import advise_on

AUTO = {"epochs": 4, "lr": "auto", "batch": 20, "jsv_samples": 0, "schedule": "one_cycle"}
WILD = 1e20  # at which every training diverges


def advice_of(record: Record) -> dict[str, Any]:
    advice = record.network("retrained").advice
    assert advice is not None
    return advice


def chosen(record: Record) -> tuple[float, list[float]]:
    return advice_of(record)["lr"], advice_of(record)["given_up"]


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


pytestmark = pytest.mark.usefixtures("_one_thread")


def auto(**changes: Any) -> Experiment:
    return tiny(**{"retrain": AUTO, "repair": "none", **changes})


def done(record: Record, store: Store, stage: str = "retrained") -> dict[str, torch.Tensor]:
    return load_file(store.folder(record.network(stage).digest) / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(auto(), store)


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


def test_the_advice_is_in_the_record_and_is_what_was_trained_at(whole: tuple[Store, Record]):
    store, record = whole
    advice, config = advice_of(record), record.config
    assert config["retrain"]["lr"] == "auto"
    best = max(p["metric_value"] for p in advice["probes"] if p["metric_value"] is not None)
    assert advice["lr"] == max(p["lr"] for p in advice["probes"] if (p["metric_value"] or 0) >= best - 0.01)
    assert advice["given_up"] == []
    # The training is that of the same config with the number in place of the word, to the last bit.
    plainly = run(auto(retrain=AUTO | {"lr": advice["lr"]}), store)
    assert same(done(plainly, store), done(record, store))
    for role in ("dense", "retrained"):
        assert bits(plainly.network(role).history) == bits(record.network(role).history)
    assert plainly.network("retrained").advice is None
    assert resolve(experiment(record.config)).as_dict() == record.config
    json.dumps(to_builtins(record), allow_nan=False)


def test_the_cost_holds_every_probe(whole: tuple[Store, Record]):
    """Counted step by step: a probe's last batch of an epoch is what is left of the samples."""
    _, record = whole
    samples, advice = len(splits_of(resolve(auto())).train), advice_of(record)
    probing, batch, want = samples - advice["judge_samples"], AUTO["batch"], AUTO["epochs"] * samples
    for probe in advice["probes"]:
        left = probing
        for _ in range(probe["steps"]):
            want += min(batch, left)
            left = left - batch if left > batch else probing
    cost = record.network("retrained").training
    assert cost.samples == want
    assert cost.multiply_adds == want * 3 * record.network("pruned").flops


def test_short_probes_take_their_share_and_average_nothing(tmp_path: Path):
    how = AUTO | {"average": 0.5, "probe_share": 0.1}
    record = run(auto(retrain=how), Store(tmp_path))
    samples, advice = len(splits_of(resolve(auto())).train), advice_of(record)
    steps = AUTO["epochs"] * -(-samples // AUTO["batch"])
    assert {probe["steps"] for probe in advice["probes"]} == {max(round(0.1 * steps), 8)}
    cost, own = record.network("retrained").training, record.network("pruned").flops
    # The averaged weights of the training itself are estimated on once.
    estimated = samples_estimated(samples, batch=AUTO["batch"])
    assert cost.multiply_adds == cost.samples * 3 * own + estimated * own


@pytest.mark.parametrize("moment", [{"probe": 1}, {"probe": 2}, {"stage": "retrained", "epoch": 2}])
def test_interrupted_the_bits_are_those_of_an_unbroken_run(
    moment: dict[str, Any], whole: tuple[Store, Record], tmp_path: Path
):
    def kill(event: Any) -> None:
        if moment.items() <= event.items():
            raise Killed

    store, probed, began = Store(tmp_path), [], time.perf_counter()
    with pytest.raises(Killed):
        run(auto(), store, on_event=kill)
    record = run(auto(), store, on_event=lambda e: probed.append(e.get("probe")))
    assert bits(record) == bits(whole[1])
    assert same(done(record, store), done(whole[1], whole[0]))
    # What both parts took, each probe among it.
    took = record.network("retrained")
    assert took.seconds < time.perf_counter() - began
    parts = (*advice_of(record)["probes"], *took.history)
    assert took.seconds >= sum(part["seconds"] for part in parts) > 0
    # No probe twice.
    assert [n for n in probed if n] == list(
        range(
            moment.get("probe", len(advice_of(record)["probes"])) + 1,
            len(advice_of(record)["probes"]) + 1,
        )
    )


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


def test_all_probes_diverging_is_told_before_any_training(tmp_path: Path):
    wild = AUTO | {"schedule": f"{HERE}:explode"}
    with pytest.raises(IsopruneError, match=r"^retrained \w+, seed 0: Training diverges at every rate from"):
        run(auto(retrain=wild), Store(tmp_path))


def test_the_dense_training_is_advised_on_for_itself(tmp_path: Path):
    store = Store(tmp_path)
    record = run(auto(dense=AUTO), store)
    facts = json.loads((store.folder(record.network("dense").digest) / "step.json").read_text())
    plainly = run(auto(dense=AUTO | {"lr": facts["advice"]["lr"]}), store)
    assert same(done(record, store, "dense"), done(plainly, store, "dense"))
    assert record.network("dense").training.samples > plainly.network("dense").training.samples


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


def test_probes_of_a_distillation_learn_from_the_teacher_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, Any]] = []

    def watching(*args: Any, **how: Any) -> Any:
        asked.append(how)
        return advise_on(*args, **how)

    monkeypatch.setattr(advised, "advise_on", watching)
    store, taught = Store(tmp_path), AUTO | {"distill": {"weight": 0.7, "temperature": 3.0}}
    record = run(auto(retrain=taught), store)
    [how] = asked
    assert (how["distill"].weight, how["distill"].temperature) == (0.7, 3.0)
    teacher = how["distill"].teacher.state_dict()
    assert same(dict(teacher), done(record, store, "dense"))
    plainly = run(auto(retrain=taught | {"lr": advice_of(record)["lr"]}), store)
    assert same(done(record, store), done(plainly, store))
    assert "distillation_loss" in record.network("retrained").history[-1]
    cost = record.network("retrained").training
    per_sample = 3 * record.network("pruned").flops + record.network("dense").flops
    assert cost.multiply_adds == cost.samples * per_sample


def test_the_word_is_another_experiment_than_any_number():
    word, number = (resolve(auto(retrain=AUTO | {"lr": lr})).as_dict() for lr in ("auto", 0.05))
    assert run_digest(word) != run_digest(number)
    assert role_digest(word, "repaired") == role_digest(number, "repaired")
