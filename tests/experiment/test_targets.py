"""Targets of an experiment: a ratio, or how much of the work or of the parameters may stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import CONFIG, role_digest, tiny
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError
from isoprune.types.record import Record

WIDTH = 16  # of both hidden layers; 64 inputs, 10 classes


def flops(k: int) -> int:
    return 64 * k + k * k + 10 * k


def parameters(k: int) -> int:
    return flops(k) + k + k + 10


def pruned(store: Path, **prune: Any) -> Record:
    model = {**CONFIG["model"], "width": WIDTH}
    return run(tiny(model=model, prune=prune, repair="none", retrain={"epochs": 0}), Store(store))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.52, 0.99, 1.0])
@pytest.mark.parametrize("count", [flops, parameters])
def test_a_target_keeps_the_most_channels_that_meet_it(count, share, tmp_path):
    """Both layers keep k channels, and the count is a polynomial in k."""
    record = pruned(tmp_path, **{count.__name__: share})
    most = max(k for k in range(1, WIDTH + 1) if count(k) <= share * count(WIDTH))
    [removal] = record.removals
    assert [WIDTH - unit.removed for unit in removal.units] == [most, most] or most == WIDTH
    assert getattr(record.network("pruned"), count.__name__) == count(most)
    assert getattr(record.network("dense"), count.__name__) == count(WIDTH)
    assert "ratio" not in removal.request
    assert removal.request[count.__name__] == share
    assert removal.ratios["filters"] == 1 - most / WIDTH
    assert record.config["prune"]["ratio"] is None
    assert record.config["prune"][count.__name__] == share


def test_no_layer_keeps_fewer_than_the_floor(tmp_path):
    record = pruned(tmp_path, ratio=0.9, floor=6)
    assert [WIDTH - unit.removed for unit in record.removals[0].units] == [6, 6]


def test_no_layer_loses_more_than_the_cap_where_all_compete(tmp_path):
    losses = {
        cap: [
            unit.removed
            for unit in pruned(tmp_path, ratio=0.5, cap=cap, allocation="global").removals[0].units
        ]
        for cap in (0.5, 0.9)
    }
    assert losses[0.5] == [8, 8]
    assert sum(losses[0.9]) == 16
    assert losses[0.9] != [8, 8]


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({}, r"^Missing key 'prune\.ratio'\. Add it, or prune\.flops or prune\.parameters: nothing is"),
        (
            {"ratio": 0.5, "flops": 0.5},
            r"^prune\.ratio and prune\.flops do not go together\. Give one of them\.$",
        ),
        ({"flops": 0.5, "parameters": 0.5}, r"^prune\.flops and prune\.parameters do not go together"),
        ({"flops": 0}, r"^prune\.flops is 0, outside \(0, 1\]"),
        ({"parameters": 1.1}, r"^prune\.parameters is 1\.1, outside \(0, 1\]"),
        ({"ratio": 0.5, "floor": 0}, r"^prune\.floor is 0, but must be at least 1"),
        ({"ratio": 0.5, "cap": 1}, r"^prune\.cap is 1, outside \[0, 1\)"),
    ],
)
def test_a_target_is_one_of_three_and_in_its_range(prune, message):
    with pytest.raises(IsopruneError, match=message) as caught:
        experiment(CONFIG | {"prune": prune})
    assert "\n" not in str(caught.value)


def test_a_target_that_cannot_be_met_is_told_in_one_line(tmp_path):
    with pytest.raises(IsopruneError, match=r"^pruned \w+, seed 0: .*0\.001"):
        pruned(tmp_path, flops=0.001)


def test_new_keys_at_their_defaults_change_no_digest():
    old, new = (
        resolve(tiny(prune=prune)).as_dict()
        for prune in ({"ratio": 0.5}, {"ratio": 0.5, "floor": 1, "cap": 0.9})
    )
    assert run_digest(old) == run_digest(new)


@pytest.mark.parametrize("changed", [{"floor": 2}, {"cap": 0.8}])
def test_other_values_change_the_digest_from_the_pruned_network_on(changed):
    old, new = (resolve(tiny(prune={"ratio": 0.5, **more})).as_dict() for more in ({}, changed))
    differ = {s for s in ("dense", "pruned", "repaired") if role_digest(old, s) != role_digest(new, s)}
    assert differ == {"pruned", "repaired"}
