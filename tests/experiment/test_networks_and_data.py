"""Whole runs on images of a folder, and on networks that start from given weights."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import Generator

from data.painted import folder
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.models import resnet56
from isoprune.types import IsopruneError

from .tiny import CONFIG, bits, one_thread, tiny

MODEL = {"name": "resnet56", "blocks": 1, "stem": 4}


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    folder(root / "train", {"a": 18, "b": 16})
    folder(root / "val", {"a": 4, "b": 4})
    return {"name": "image_folder", "root": str(root), "size": 16, "validation": 6}


def test_images_of_a_folder_run_through_all_stages_and_the_readers_change_no_bit(
    images, tmp_path, monkeypatch
):
    records = []
    for workers in ("1", "3"):
        monkeypatch.setenv("ISOPRUNE_WORKERS", workers)
        with one_thread():
            experiment = tiny(
                data=images,
                model=MODEL,
                dense={**CONFIG["dense"], "batch": 8},
                retrain={**CONFIG["retrain"], "batch": 8},
            )
            records.append(run(experiment, Store(tmp_path / workers)))
    assert bits(records[0]) == bits(records[1])
    assert json.dumps(records[0].config["data"]["root"]) == json.dumps(images["root"])


@pytest.fixture
def weights(tmp_path):
    trained = resnet56((1, 8, 8), 10, blocks=1, stem=4, generator=Generator().manual_seed(9))
    save_file(trained.state_dict(), tmp_path / "mine.safetensors")
    return trained.state_dict(), tmp_path / "mine.safetensors"


def test_a_dense_network_may_be_the_users_own_and_is_never_trained(weights, tmp_path):
    state, path = weights
    store = Store(tmp_path / "runs")
    experiment = tiny(model={**MODEL, "weights": str(path)}, dense={"epochs": 0})
    record = run(experiment, store)
    dense, pruned = (store.folder(record.network(role).digest) for role in ("dense", "pruned"))
    path.unlink()  # what lies in the store needs it no more
    network, facts = load_network(dense)
    assert facts["history"] == []
    assert all(torch.equal(t, state[name]) for name, t in network.state_dict().items())
    assert load_network(pruned)[0].stages[0][0].conv1.out_channels == 2
    from isoprune.experiment.config import experiment as read

    assert bits(run(read(record.config), store)) == bits(record)


def test_an_experiment_is_named_by_the_content_of_its_weights(weights):
    state, path = weights
    made = lambda: resolve(tiny(model={**MODEL, "weights": str(path)})).as_dict()["model"]  # noqa: E731
    first, again = made(), made()
    save_file({name: t + 1 for name, t in state.items()}, path)
    assert first == again != made()
    assert first["weights"].startswith(f"{path}@sha256:")
    path.unlink()
    with pytest.raises(IsopruneError, match="there is no such file"):
        made()
