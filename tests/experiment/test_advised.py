"""lr = "auto": the advised rate is the one trained at, a rate that breaks down is given up, killed or not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from experiment.advised import AUTO, Killed, advice_of, auto, done, same
from experiment.tiny import HERE, bits, one_thread, role_digest
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.pipeline import run, splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps import advised_rate as advised
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError
from isoprune.types.record import Record
from isoprune.types.training_cost import samples_estimated
from isoprune.verbs.advise import advise_on

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(auto(), store)


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
