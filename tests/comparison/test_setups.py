"""Every pair of the ladder gets its grade, and every key of an experiment its rung."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from comparison.made import TABLE, changed, record
from isoprune.comparison import Setup, read_setup, setup_of
from isoprune.comparison.records import flatten, under
from isoprune.comparison.setups import FREE, RUNGS, rung
from isoprune.experiment.config import _ShortForm
from isoprune.experiment.validation import keys_of
from isoprune.types import IsopruneError
from isoprune.types.config_keys import WATCHING

# Each differs from TABLE in what the next setup asks for, and in nothing below it.
LADDER: dict[Setup | None, tuple[dict[str, Any], str]] = {
    None: ({"data__name": "mnist"}, "data.name"),
    Setup.S1: ({"dense__epochs": 30}, "dense.epochs"),
    Setup.S2: ({"retrain__epochs": 11}, "retrain.epochs"),
    Setup.S3_1: ({"retrain__lr": 0.1}, "retrain.lr"),
    Setup.S4_2: ({"repair": "orthp", "prune__criterion": "taylor"}, ""),
}
SCRATCH = {"repair": "scratch"}


@pytest.mark.parametrize("setup", LADDER, ids=str)
def test_a_pair_gets_the_highest_setup_it_shares_and_the_key_that_bars_the_next(setup):
    changes, key = LADDER[setup]
    got = setup_of(changed(), changed(**changes))
    assert (got.setup, got.key) == (setup, key)
    assert {s for s in got.shared if s < Setup.SX_A} == {s for s in Setup if setup is not None and s <= setup}


def test_the_lowest_rung_that_breaks_decides():
    """Whatever breaks above it: all combinations of the ladder's differences."""
    broken = [setup for setup in LADDER if setup is not Setup.S4_2]
    for chosen in itertools.chain.from_iterable(itertools.combinations(broken, n) for n in (1, 2, 3, 4)):
        changes = {k: v for setup in chosen for k, v in LADDER[setup][0].items()}
        lowest = min(chosen, key=lambda s: 0 if s is None else s)
        got = setup_of(changed(), changed(**changes))
        assert (got.setup, got.key) == (lowest, LADDER[lowest][1])


def test_the_epochs_and_rates_of_pruning_make_s4():
    """A penalty trains while it prunes; one shot is no epoch on both sides."""
    plain, slow, slower, other = ({**changed(), "prune": {**changed()["prune"], **more}} for more in (
        {}, *({"train": {"epochs": e, "lr": r}} for e, r in ((5, 0.01), (9, 0.01), (5, 0.001)))))  # fmt: skip
    assert setup_of(slow, slower).setup is Setup.S3_2
    assert setup_of(slow, slower).key == "prune.train.epochs"
    assert setup_of(slow, other).setup is Setup.S4_1
    assert setup_of(slow, other).key == "prune.train.lr"
    assert (setup_of(plain, slow).setup, setup_of(plain, slow).values) == (Setup.S3_2, ("not set", 5))


PAIRS = [
    *(({}, changes) for changes, _ in LADDER.values()),
    ({}, SCRATCH),
    ({}, {**SCRATCH, "retrain__epochs": 30}),
    ({}, {**SCRATCH, "retrain__epochs": 90}),
    ({"repair": ["scratch", "orthp"]}, {"retrain__momentum": 0.5}),
    ({"retrain__batch": 50}, {"retrain__lr": 1.0, "seed": 3}),
]


@pytest.mark.parametrize("make", [changed, record], ids=["configs", "records"])
@pytest.mark.parametrize("pair", PAIRS)
def test_symmetry(make, pair):
    a, b = (make(**changes) for changes in pair)
    there, back = setup_of(a, b), setup_of(b, a)
    assert (there.setup, there.shared, there.key) == (back.setup, back.shared, back.key)
    assert there.values == back.values[::-1]
    assert setup_of(a, a).key == ""


# For every key of an experiment, another value. A new key must be put here, and with it on the ladder.
TRAINING = {
    "epochs": 12,
    "lr": 0.5,
    "schedule": "cosine",
    "steps": 7,
    "batch": 32,
    "optimizer": "adamw",
    "momentum": 0.5,
    "weight_decay": 0.0,
    "jsv_samples": 3,
    "precision": "bf16",
    "probe_share": 0.1,
    "accumulate": 2,
    "channels_last": True,
    "compile": True,
    "clip": 1.0,
    "sync_batchnorm": True,
    "nesterov": True,
    "label_smoothing": 0.1,
    "average": 0.2,
    "trackers": ["tensorboard"],
    "checkpoint_steps": 5,
    "checkpoint_seconds": 1.0,
}
OTHER: dict[str, Any] = {
    "data": "mnist",
    "data.limit": 500,
    "data.root": "elsewhere",
    "model": "lenet_5",
    "model.width": 64,
    "model.weights": "mine.safetensors",
    "prune.ratio": 0.7,
    "prune.flops": 0.5,
    "prune.parameters": 0.5,
    "prune.criterion": "taylor",
    "prune.grain": "weight",
    "prune.mask": True,
    "prune.scope": "internal",
    "prune.allocation": "global",
    "prune.round_to": 8,
    "prune.floor": 2,
    "prune.cap": 0.5,
    "repair": "orthp",
    "seed": 1,
    "measure.samples": 5,
    "measure.bins": 5,
    "measure.measures": ["size"],
    "measure.batches": 2,
    "measure.barrier": 11,
    "measure.instability": 11,
    "rewind": 3,
    "task": "mine:task",
    "retrain.distill": {"weight": 0.5, "temperature": 4.0},
    "retrain.schedule.milestones": [6],
    "retrain.penalty": "kernel_orthogonality",
    **{f"{stage}.{key}": value for stage in ("dense", "retrain") for key, value in TRAINING.items()},
}


def test_every_key_of_an_experiment_is_looked_at():
    # A dense network has nobody to learn from: the file is refused.
    assert set(keys_of(_ShortForm)) - {"dense.distill", "dense.penalty", "prune.train"} <= set(OTHER)


@pytest.mark.parametrize("key", [*TRAINING, "penalty"])
def test_the_keys_of_training_before_pruning_too(key):
    train, other = {"epochs": 3, "lr": 0.1}, {key: {**TRAINING, "penalty": "tpp"}[key]}
    base, got = (changed(prune={**TABLE["prune"], "train": train | more}) for more in ({}, other))
    asked, grade = rung(f"prune.train.{key}"), setup_of(base, got)
    assert grade.setup is (Setup.S4_2 if asked is None else Setup(asked - 1))


def other(key: str) -> dict[str, Any]:
    changes = {key.replace(".", "__"): OTHER[key]}
    if key in ("prune.flops", "prune.parameters"):
        return changed({**TABLE, "prune": {}}, **changes)
    return changed(**changes)


@pytest.mark.parametrize("key", OTHER)
def test_a_key_lowers_the_grade_to_below_its_rung_or_its_reason_not_to_is_told(key):
    got = setup_of(changed(), other(key))
    asked = rung(key)
    if asked is None:
        assert got.setup is Setup.S4_2
        assert any(under(key, free) for free in FREE)
    else:
        assert got.setup == (None if asked is Setup.S1 else Setup(asked - 1))
        # Of two targets that do not go together, both differ.
        same = ("prune.ratio",) if key in ("prune.flops", "prune.parameters") else (key,)
        assert any(under(got.key, told) for told in same)


def test_what_changes_no_digest_is_free():
    for stage in ("dense", "retrain"):
        assert all(rung(f"{stage}.{key}") is None for key in WATCHING)


def test_no_key_is_both_free_and_on_a_rung():
    assert not RUNGS.keys() & FREE.keys()


def test_a_key_that_is_newer_than_the_ladder_matters():
    assert setup_of({**changed(), "noise": 1}, changed()).key == "noise"
    assert setup_of({**changed(), "noise": 1}, changed()).setup is None


def test_what_is_compared_may_differ_but_never_the_base():
    assert setup_of(changed(), changed(retrain__lr=0.5), compared=["retrain.lr"]).setup is Setup.S4_2
    assert setup_of(changed(), changed(retrain__lr=0.5), compared=["retrain.l"]).setup is Setup.S3_1
    assert setup_of(changed(), changed(**SCRATCH), compared=["repair"]).setup is Setup.S1


@pytest.mark.parametrize(
    ("text", "setup"), [("S3.2", Setup.S3_2), ("s4_1", Setup.S4_1), ("sx-b", Setup.SX_B)]
)
def test_setups_are_read_as_they_are_written(text, setup):
    assert read_setup(text) is setup


def test_setups_are_told_apart_and_in_order():
    assert [read_setup(str(s)) for s in Setup] == sorted(Setup)
    assert len({s.demands for s in Setup}) == len(Setup)
    with pytest.raises(
        IsopruneError, match=r"Unknown setup 'S5'\. Did you mean 'S\d.*Known: S1, S2, S3\.1, S3\.2"
    ):
        read_setup("S5")


def test_the_steps_of_a_training_are_a_number_and_those_of_a_repeat_are_steps():
    train = {"kind": "train", "epochs": 2, "steps": None}
    rounds = {"kind": "repeat", "rounds": 3, "steps": [{"kind": "prune", "ratio": 0.5}]}
    retrain = {"kind": "retrain", "epochs": 1, "steps": 7}
    flat = flatten({"steps": [train, rounds, retrain]})
    assert flat == {
        "dense.epochs": 2, "dense.steps": None, "repeat.rounds": 3, "prune.ratio": 0.5,
        "retrain.epochs": 1, "retrain.steps": 7,
    }  # fmt: skip


def test_a_repair_that_takes_steps_is_no_chain():
    repair = {"kind": "repair", "method": {"name": "approximate_isometry", "steps": 200}}
    assert flatten({"steps": [repair]}) == {"repair.name": "approximate_isometry", "repair.steps": 200}
