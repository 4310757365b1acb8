"""Deep compression as steps of a recipe: few numbers a layer, through the store and a later training."""

from __future__ import annotations

import pytest
import torch

from experiment.tiny import CONFIG, role_digest
from isoprune.experiment.config import experiment
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.methods.codecs import compress
from isoprune.methods.codecs.clusters import clustered, sharing
from isoprune.types import IsopruneError

TRAINING = {"epochs": 2, "lr": 0.05, "batch": 50, "jsv_samples": 0}
STEPS = [
    {"kind": "train", **TRAINING},
    {"kind": "prune", "grain": "weight", "ratio": 0.5},
    {"kind": "cluster", "conv_bits": 2, "linear_bits": 2},
    {"kind": "retrain", **TRAINING},
    {"kind": "retrain", "role": "further", **TRAINING},
]
COMMON = {key: CONFIG[key] for key in ("data", "model", "measure")}


def test_shared_numbers_learn_and_stay_few_through_the_store(tmp_path):
    store, config = Store(tmp_path / "store"), {**COMMON, "steps": STEPS}
    record = run(experiment(config), store)
    models = {}
    for role in ("pruned", "clustered", "retrained", "further"):
        models[role], _ = load_network(store.folder(role_digest(config, role)))
    zero = {n: p == 0 for n, p in models["pruned"].named_parameters() if "weight" in n or "original" in n}
    assert any(zeros.any() for zeros in zero.values())
    for role in ("clustered", "retrained", "further"):
        shares = clustered(models[role])
        assert shares
        for module, key in shares.values():
            index, numbers = sharing(module, key)
            weight = getattr(module, key)
            assert len(numbers) <= 4
            assert torch.equal(weight == 0, index == 0)
            assert len(weight.unique()) <= 5
        file = compress(models[role], tmp_path / "small.bin")
        assert record.network(role).coded_bytes == file.total == file.path.stat().st_size
    for name, (module, key) in clustered(models["clustered"]).items():
        kept, later = (clustered(models[role])[name] for role in ("retrained", "further"))
        before, after = getattr(module, key), getattr(*later)
        assert torch.equal(sharing(module, key)[0], sharing(*kept)[0])  # the places stay
        assert not torch.equal(before, after)  # the numbers learn
    assert record.network("pruned").coded_bytes is None


@pytest.mark.parametrize("later", [{"kind": "prune", "ratio": 0.5}, {"kind": "repair", "method": "none"}])
def test_nothing_but_training_follows_shared_weights(later):
    with pytest.raises(
        IsopruneError, match=r"^steps\[3\] changes weights that are shared since a step of kind"
    ):
        experiment({**COMMON, "steps": [*STEPS[:3], later]})


def test_rounds_share_no_weights():
    repeat = {"kind": "repeat", "rounds": 2, "steps": [*STEPS[1:4]]}
    with pytest.raises(IsopruneError, match=r"steps\[1\]\.steps\[1\]\.kind"):
        experiment({**COMMON, "steps": [STEPS[0], repeat]})


def test_bits_have_a_range():
    steps = [*STEPS[:2], {"kind": "cluster", "conv_bits": 9}]
    with pytest.raises(IsopruneError, match=r"steps\[2\]\.conv_bits"):
        experiment({**COMMON, "steps": steps})
