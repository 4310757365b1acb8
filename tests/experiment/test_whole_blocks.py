"""Whole residual blocks in a store: what goes, what stays, and the same bits after any interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiment.tiny import bits, one_thread
from experiment.whole_blocks import SHORT, rounds
from isoprune.experiment import read_experiment
from isoprune.experiment.config import experiment
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps.rewind import kept_path
from isoprune.experiment.store import Store
from isoprune.pruning.residual_blocks import names_before, without_blocks
from isoprune.types import IsopruneError
from isoprune.types.record import Record

TESTS = Path(__file__).parents[1]
TOML = """
data = {name = "digits", limit = 150, size = 8}
model = {name = "resnet_small", stem = 4, blocks = 4}

[dense]
epochs = 2
lr = 0.05
batch = 50
jsv_samples = 0

[prune]
ratio = 0.5
grain = "residual_block"

[retrain]
epochs = 1
lr = 0.05
batch = 50
jsv_samples = 0

[measure]
samples = 4
bins = 8
"""

pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return the store and the record of two rounds of whole blocks."""
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(rounds(), store)


def files(store: Store) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in store.root.rglob("model.safetensors")}


def test_the_networks_of_a_store_are_without_the_blocks_that_went(whole: tuple[Store, Record]):
    """Each is the dense network's class with fewer items, and what stays is what its plan keeps."""
    store, record = whole
    dense = load_network(store.folder(record.networks[0].digest))[0]
    epoch_1 = load_file(kept_path(store.folder(record.networks[0].digest), 1))
    left = []
    for network in record.networks[1:]:
        model, facts = load_network(store.folder(network.digest))
        assert facts["plan"].grain == "residual_block"
        assert type(model) is type(dense)
        assert [len(stage) for stage in model.stages] == [
            int(facts["plan"].kept.get(f"stages.{i}", torch.ones(4)).sum()) for i in range(3)
        ]
        assert network.parameters == sum(p.numel() for p in model.parameters())
        if network.role == "pruned":
            left.append(sum(len(stage) for stage in model.stages))
        if network.role == "pruned" and network.round == 1:
            x = torch.rand(3, 1, 8, 8)
            assert torch.equal(model(x), without_blocks(dense, facts["plan"])(x))
        if network.role == "rewound":
            state = model.state_dict()
            for name, before in names_before(dense, facts["plan"]).items():
                assert torch.equal(state[name], epoch_1[before]), name
    assert 12 > left[0] > left[1] > 3
    assert [removal.grain for removal in record.removals] == ["residual_block"] * 2
    barriers = [network.barrier for network in record.networks if network.role == "retrained"]
    assert all(line is not None and not line.refused for line in barriers)


def test_a_config_file_says_the_same_as_python(tmp_path: Path):
    (tmp_path / "blocks.toml").write_text(TOML)
    store = Store(tmp_path / "store")
    record = run(read_experiment(tmp_path / "blocks.toml"), store)
    assert record.digest == run(experiment(SHORT), store).digest
    dense, retrained = record.network("dense"), record.network("retrained")
    assert dense is not None
    assert retrained is not None
    assert retrained.parameters < dense.parameters
    assert retrained.flops < dense.flops


def life(root: Path, flushes: int) -> subprocess.CompletedProcess[str]:
    path = f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}"
    command = [sys.executable, "-m", "experiment.whole_blocks", str(root), str(flushes)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("deaths", [(40,), pytest.param((9, 25, 30), marks=pytest.mark.matrix)])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    deaths: tuple[int, ...], whole: tuple[Store, Record], tmp_path: Path
):
    """kill -9 in the dense training, and in what follows it."""
    for flushes in deaths:
        assert life(tmp_path, flushes).returncode == -9
    assert not list(tmp_path.rglob("record.json"))
    assert len(list(tmp_path.rglob("step.json"))) < len(whole[1].networks)
    store = Store(tmp_path)
    assert bits(run(rounds(), store)) == bits(whole[1])
    assert files(store) == files(whole[0])
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prune": {**SHORT["prune"], "mask": True}}, r"prune\.mask: whole blocks are taken out"),
        ({"repair": "auto"}, r"repair: Repair 'auto' .* Take 'polish'"),
    ],
    ids=["masks", "a repair by layers"],
)
def test_what_does_not_go_with_whole_blocks_is_refused_before_any_training(changes: dict, why: str):
    with pytest.raises(IsopruneError, match=why):
        resolve(experiment({**SHORT, **changes}))
