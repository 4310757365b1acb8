"""Digests: equal for equal experiments, different for each key that matters, and only from its step on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from experiment.tiny import CONFIG, tiny
from isoprune.experiment import digests
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.types.config_keys import WATCHING
from isoprune.types.seeded import derived_seed

RESOLVED = resolve(tiny()).as_dict()

# Section -> the first role whose network depends on it; all later ones do too.
FIRST = {
    "task": "dense",
    "seed": "dense",
    "data": "dense",
    "model": "dense",
    "dense": "dense",
    "prune": "pruned",
}
FIRST |= {"rewind": "rewound", "repair": "repaired", "retrain": "retrained"}
ROLES = ("dense", "pruned", "repaired", "retrained")

# What else each leaf could be.
OTHER: dict[str, Any] = {
    "data.name": "mnist",
    "data.limit": 151,
    "data.size": 16,
    "data.validation": 0.2,
    "model.name": "lenet_5",
    "model.activation": "linear",
    "model.depth": 4,
    "model.width": 9,
    "task": "experiment.tiny:SQUARES",
    "prune.mask": True,
    "prune.ratio": 0.6,
    "prune.criterion.name": "l2_norm",
    "prune.flops": 0.5,
    "prune.parameters": 0.5,
    "prune.grain": "filter",
    "prune.floor": 2,
    "prune.cap": 0.5,
    "prune.train": {"epochs": 1, "lr": 0.1},
    "prune.scope": "internal",
    "prune.allocation": "global",
    "prune.round_to": 8,
    "rewind": 1,
    "repair.name": "none",
    "repair.gain": 1.0,
    "repair.classifier_gain": 1.0,
    "seed": 1,
    "measure.samples": 5,
    "measure.barrier": 5,
    "measure.instability": 5,
    "measure.bins": 9,
    "measure.measures": [{"name": "experiment.tiny:measured"}],
    "measure.batches": 3,
}
TRAINING = {
    "precision": "bf16",
    "optimizer": "adamw",
    "accumulate": 2,
    "channels_last": True,
    "compile": True,
    "clip": 1.0,
    "sync_batchnorm": True,
    "nesterov": True,
    "label_smoothing": 0.1,
    "average": 0.25,
    "probe_share": 0.1,
    "penalty": {"name": "kernel_orthogonality"},
}
OTHER["retrain.distill"] = {"weight": 0.9, "temperature": 4.0}
for _training in ("dense", "retrain"):
    OTHER |= {f"{_training}.{key}": value for key, value in TRAINING.items()} | {
        f"{_training}.epochs": 7,
        f"{_training}.lr": 0.06,
        f"{_training}.steps": 3,
        f"{_training}.batch": 51,
        f"{_training}.momentum": 0.8,
        f"{_training}.weight_decay": 0.0,
        f"{_training}.jsv_samples": 5,
        f"{_training}.schedule.name": "halving",
        f"{_training}.schedule.milestones": [1],
        f"{_training}.schedule.gamma": 0.2,
    }


def leaves(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key


def changed(key: str) -> dict[str, Any]:
    config = copy.deepcopy(RESOLVED)
    *parents, last = key.split(".")
    table = config
    for parent in parents:
        table = table[parent]
    assert table[last] != OTHER[key]
    if key in ("prune.flops", "prune.parameters"):  # one target at a time
        table["ratio"] = None
    table[last] = OTHER[key]
    return config


def by_role(config: dict[str, Any]) -> dict[str, str]:
    return {step.role: step.digest for step in placed(experiment(config))}


KEYS = [key for key in leaves(RESOLVED) if key in OTHER]


def test_every_key_is_tried_here():
    left = {key for key in leaves(RESOLVED) if key not in OTHER}
    assert {key for key in left if key.rpartition(".")[2] not in WATCHING} == {"dense.distill"}  # refused


@pytest.mark.parametrize("key", KEYS)
def test_every_key_changes_the_run_and_the_steps_from_its_own_on(key: str):
    config = changed(key)
    assert run_digest(config) != run_digest(RESOLVED)
    ours, theirs = by_role(config), by_role(RESOLVED)
    differ = [role for role in ours if ours[role] != theirs.get(role)]
    first = FIRST.get(key.partition(".")[0])
    assert differ == ([] if first is None else [*ours][[*ours].index(first) :])


def test_the_short_form_is_the_long_one():
    """The same steps, written out: the same networks under the same digests, and the same run."""
    steps = [
        {"kind": "train", **CONFIG["dense"]},
        {"kind": "prune", **CONFIG["prune"]},
        {"kind": "repair", "method": CONFIG["repair"]},
        {"kind": "retrain", **CONFIG["retrain"]},
    ]
    common = {key: CONFIG[key] for key in ("data", "model", "measure")}
    long = resolve(experiment({**common, "steps": steps}))
    assert long == resolve(tiny())
    assert long.as_dict() == RESOLVED
    called = resolve(experiment({**common, "steps": [*steps[:3], steps[3] | {"role": "tuned"}]}))
    assert [s.digest for s in placed(called)] == [s.digest for s in placed(long)]
    assert "steps" in called.as_dict()


def test_digest_does_not_depend_on_the_order_of_keys_or_on_how_a_choice_is_written():
    def reverse(value: Any) -> Any:
        return {k: reverse(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    written = experiment(reverse(CONFIG) | {"repair": {"gain": None, "name": "orthp"}})
    assert run_digest(resolve(written).as_dict()) == run_digest(RESOLVED)
    assert run_digest(reverse(RESOLVED)) == run_digest(RESOLVED)


def test_steps_of_one_config_have_different_digests():
    assert [*by_role(RESOLVED)] == [*ROLES]
    assert len({*by_role(RESOLVED).values(), run_digest(RESOLVED)}) == len(ROLES) + 1


def test_a_new_format_is_a_new_digest(monkeypatch: pytest.MonkeyPatch):
    before = run_digest(RESOLVED)
    monkeypatch.setattr(digests, "FORMAT", digests.FORMAT + 1)
    assert run_digest(RESOLVED) != before


def test_digest_is_the_same_on_every_machine_and_in_every_version():
    """Pinned: whoever changes it makes every store in the world start anew, and must raise FORMAT."""
    assert digests.canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null]}'
    assert digests.digest({"a": 1}) == "0a5cae94667c9b47"
    assert derived_seed(0, "dense") == 599079022862865164


def test_every_stage_and_seed_has_its_own_stream():
    stages = ("model", "dense", "scores", "repair", "retrained", "measure", "batches")
    seeds = {derived_seed(seed, stage) for seed in range(100) for stage in stages}
    assert len(seeds) == 100 * len(stages)
    assert all(0 <= seed < 2**63 for seed in seeds)
