"""Digests: equal for equal experiments, different for each key that matters, and only from its stage on."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from experiment.tiny import CONFIG, tiny
from isoprune.experiment import digests
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import IF_ASKED, STAGES, derived_seed, run_digest, stage_digest
from isoprune.experiment.signatures import resolve

RESOLVED = resolve(tiny()).as_dict()

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
    "prune.ratio": 0.6,
    "prune.criterion.name": "l2_norm",
    "prune.scope": "internal",
    "prune.allocation": "global",
    "prune.round_to": 8,
    "repair.name": "none",
    "repair.gain": 1.0,
    "repair.classifier_gain": 1.0,
    "seed": 1,
    "measure.samples": 5,
    "measure.bins": 9,
}
for _training in ("dense", "retrain"):
    OTHER |= {
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
    table[last] = OTHER[key]
    return config


@pytest.mark.parametrize("key", list(leaves(RESOLVED)))
def test_every_key_changes_the_run_and_the_stages_that_depend_on_it(key: str):
    config = changed(key)
    assert run_digest(config) != run_digest(RESOLVED)
    differ = {stage for stage in STAGES if stage_digest(config, stage) != stage_digest(RESOLVED, stage)}
    assert differ == {stage for stage, keys in STAGES.items() if key.split(".")[0] in keys}


def test_each_stage_depends_on_all_that_the_stages_before_it_do():
    keys = list(STAGES.values())
    for before, after in itertools.pairwise(keys):
        # What only some configs have stands before the key of the stage that it is the first to change.
        new = [key for key in after if key not in before]
        assert [key for key in after if key in before] == list(before)
        assert len([key for key in new if key not in IF_ASKED]) == 1


def test_digest_does_not_depend_on_the_order_of_keys_or_on_how_a_choice_is_written():
    def reverse(value: Any) -> Any:
        return {k: reverse(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    written = experiment(reverse(CONFIG) | {"repair": {"gain": None, "name": "orthp"}})
    assert run_digest(resolve(written).as_dict()) == run_digest(RESOLVED)
    assert run_digest(reverse(RESOLVED)) == run_digest(RESOLVED)


def test_stages_of_one_config_have_different_digests():
    assert (
        len({stage_digest(RESOLVED, stage) for stage in STAGES} | {run_digest(RESOLVED)}) == len(STAGES) + 1
    )


def test_a_new_format_is_a_new_digest(monkeypatch: pytest.MonkeyPatch):
    before = run_digest(RESOLVED)
    monkeypatch.setattr(digests, "FORMAT", digests.FORMAT + 1)
    assert run_digest(RESOLVED) != before


def test_digest_is_the_same_on_every_machine_and_in_every_version():
    """Pinned: whoever changes it makes every store in the world start anew, and must raise FORMAT."""
    assert digests.canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null]}'
    assert digests.digest({"a": 1}) == "19004d26d7a198fc"
    assert derived_seed(0, "dense") == 599079022862865164


def test_every_stage_and_seed_has_its_own_stream():
    stages = ("model", "dense", "scores", "repair", "retrained", "measure", "batches")
    seeds = {derived_seed(seed, stage) for seed in range(100) for stage in stages}
    assert len(seeds) == 100 * len(stages)
    assert all(0 <= seed < 2**63 for seed in seeds)
