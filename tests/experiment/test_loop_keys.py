"""The keys of the training loop: strict, silent at their defaults, and all the way into the record."""

from __future__ import annotations

import json

import pytest

from experiment.tiny import CONFIG, bits, role_digest, roles, tiny
from isoprune.experiment import run
from isoprune.experiment.config import TrainingConfig, _ShortForm, experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.experiment.validation import keys_of
from isoprune.training import tracking
from isoprune.types import IsopruneError
from isoprune.types.record import TrainingCost
from isoprune.types.training_cost import samples_estimated, samples_seen, training_work

CHANGED = {
    "optimizer": "adamw",
    "precision": "bf16",
    "accumulate": 2,
    "channels_last": True,
    "compile": True,
    "clip": 1.0,
    "sync_batchnorm": True,
    "nesterov": True,
    "label_smoothing": 0.1,
    "average": 0.25,
    "probe_share": 0.1,
    "distill": {"weight": 0.9, "temperature": 4.0},
}
WATCHING = {"trackers": ["tensorboard"], "checkpoint_steps": 7, "checkpoint_seconds": 5.0}


def changed(**keys):
    return tiny(retrain=CONFIG["retrain"] | keys)


def test_all_keys_are_tried_here():
    new = {key.removeprefix("retrain.") for key in keys_of(_ShortForm) if key.startswith("retrain.")}
    assert set(CHANGED) | set(WATCHING) <= new
    assert {"epochs", "lr", "steps", "schedule"} <= new


@pytest.mark.parametrize("key", [*CHANGED, *WATCHING])
def test_a_key_is_in_the_config_and_comes_back(key):
    value = (CHANGED | WATCHING)[key]
    made = changed(**{key: value})
    assert made.as_dict()["retrain"][key] == value
    assert experiment(json.loads(json.dumps(made.as_dict()))) == made
    default = getattr(TrainingConfig(epochs=1), key)
    assert changed(**{key: list(default) if isinstance(default, tuple) else default}) == tiny()


@pytest.mark.parametrize("key", CHANGED)
def test_what_may_change_the_result_changes_the_digest_of_its_stage_alone(key):
    plain, other = (resolve(e).as_dict() for e in (tiny(), changed(**{key: CHANGED[key]})))
    assert run_digest(plain) != run_digest(other)
    assert role_digest(plain, "retrained") != role_digest(other, "retrained")
    assert role_digest(plain, "repaired") == role_digest(other, "repaired")


def test_how_it_is_watched_changes_no_digest():
    plain, watched = (resolve(e).as_dict() for e in (tiny(), changed(**WATCHING)))
    assert plain != watched
    assert run_digest(plain) == run_digest(watched)
    assert role_digest(plain, "retrained") == role_digest(watched, "retrained")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"precision": "half"}, r"retrain\.precision is 'half' \(str\).*Known: bf16, full"),
        ({"accumulate": 0}, r"retrain\.accumulate is 0, but must be at least 1"),
        ({"channels_last": 1}, r"retrain\.channels_last must be true or false, not 1 \(int\)"),
        ({"compile": "yes"}, r"retrain\.compile must be true or false, not 'yes'"),
        ({"clip": 0}, r"retrain\.clip is 0, outside \(0, inf\)"),
        ({"label_smoothing": 1.0}, r"retrain\.label_smoothing is 1, outside \[0, 1\)"),
        ({"average": -0.5}, r"retrain\.average is -0\.5, outside"),
        ({"trackers": "tensorboard"}, r"retrain\.trackers must be a list of a string, not 'tensorboard'"),
        ({"trackers": [1]}, r"retrain\.trackers\[0\] must be a string, not 1 \(int\)"),
        ({"checkpoint_steps": 0}, r"retrain\.checkpoint_steps is 0, but must be at least 1"),
        ({"distill": {"weight": 0.9}}, r"Missing key 'retrain\.distill\.temperature'"),
        (
            {"distill": {"weight": 1.1, "temperature": 4}},
            r"retrain\.distill\.weight is 1\.1, outside \[0, 1\]",
        ),
        (
            {"distill": {"weight": 0.5, "temperature": 0}},
            r"retrain\.distill\.temperature is 0\.0, outside \(0, inf\)",
        ),
        ({"distill": 0.9}, r"retrain\.distill must be a table of keys, not 0\.9"),
        (
            {"distill": {"weight": 0.5, "temperature": 4, "alpha": 1}},
            r"Unknown key 'retrain\.distill\.alpha'",
        ),
        ({"nesterov": True, "momentum": 0.0}, r"retrain\.nesterov needs retrain\.momentum, which is 0"),
        (
            {"nesterov": True, "optimizer": "adamw"},
            r'retrain\.nesterov is of SGD\. Leave it out, or give retrain\.optimizer = "sgd"',
        ),
        ({"optimizer": "adam"}, r"retrain\.optimizer is 'adam' \(str\)\. Did you mean 'adamw'\?"),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused(keys, why):
    with pytest.raises(IsopruneError, match=why):
        changed(**keys)


def test_the_dense_network_has_none_to_learn_from():
    with pytest.raises(IsopruneError, match=r"dense\.distill: there is no network yet to learn from"):
        tiny(dense=CONFIG["dense"] | {"distill": CHANGED["distill"]})


def test_a_tracker_that_is_missing_is_found_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(IsopruneError, match="pip install tensorboard"):
        resolve(changed(trackers=["tensorboard"]))


@pytest.mark.parametrize("batch", [1, 3, 10, 11])
def test_samples_are_counted_as_the_loop_takes_them(batch):
    sizes = [min(batch, 10 - i) for i in range(0, 10, batch)] * 4
    for steps in [None, *range(1, len(sizes) + 3)]:
        assert samples_seen(10, batch=batch, epochs=4, steps=steps) == sum(sizes[:steps])


def test_a_training_costs_three_forward_passes_and_a_teacher_one():
    assert training_work(100, flops=7) == 100 * 21
    assert training_work(100, flops=7, teacher=50, estimated=10) == 100 * 21 + 100 * 50 + 10 * 7


@pytest.mark.parametrize(
    ("train", "batch", "want"), [(10, 4, 10), (5000, 64, 1024), (5000, 100, 1000), (5000, 3000, 3000)]
)
def test_averaged_weights_are_estimated_on_whole_batches_of_1024_samples_at_most(train, batch, want):
    assert samples_estimated(train, batch=batch) == want


def test_an_experiment_that_a_launcher_started_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(IsopruneError, match="A launcher started 2 processes, and an experiment runs in one"):
        run(tiny(), Store(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("default::DeprecationWarning")  # tensorboard's own
def test_a_run_with_everything_says_in_its_record_what_it_cost(tmp_path):
    keys = {k: v for k, v in CHANGED.items() if k not in ("compile", "optimizer")} | WATCHING
    record = run(changed(**keys), Store(tmp_path))
    found = roles(record)
    flops = {role: network.flops for role, network in found.items()}
    trained = found["dense"].training.samples // 2
    assert found["dense"].training == TrainingCost(2 * trained, 6 * trained * flops["dense"])
    # Three epochs with a teacher, and one pass for the statistics of the average.
    adds = trained * (9 * flops["retrained"] + 3 * flops["dense"] + flops["retrained"])
    assert found["retrained"].training == TrainingCost(3 * trained, adds, {"weight": 0.9, "temperature": 4.0})
    assert all("distillation_loss" in row for row in record.network("retrained").history[1:])
    assert not any("distillation_loss" in row for row in record.network("dense").history)
    folder = Store(tmp_path).root / "trackers" / f"retrained-{found['retrained'].digest}"
    assert any(folder.iterdir())
    plain = run(tiny(), Store(tmp_path))
    assert plain.network("retrained").training.distillation is None
    assert plain.network("dense").digest == found["dense"].digest
    assert bits(run(changed(**keys), Store(tmp_path))) == bits(record)
