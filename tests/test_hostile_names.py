"""A name in a file of a stranger calls nothing: not in a folder, a record, a recipe or a store."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from hostile import CALLS, network_folder, record_of, sealed
from isoprune.cli import main
from isoprune.experiment.config import experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.experiment.trusted_names import is_zoo
from isoprune.export.sources import open_source
from isoprune.types import IsopruneError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stranger_nets.py").write_text("open('PWNED', 'w').close()\ndef make(*_, **__): pass\n")
    yield
    sys.modules.pop("stranger_nets", None)


def refused(capsys, *words: str) -> str:
    code = main(words)
    line = capsys.readouterr().err
    assert code == 2, line
    assert not Path("PWNED").exists()
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("verb", ["diagnose", "advise"])
def test_the_function_that_a_network_of_a_folder_names_is_not_called(capsys, verb, name):
    folder = network_folder(Path("stranger/networks"), model={"name": name}, in_shape=[1, 8, 8])
    more = ["--epochs", "1"] if verb == "advise" else []
    assert "name it yourself: --build" in refused(capsys, verb, str(folder), *more)


@pytest.mark.parametrize("name", CALLS)
def test_the_function_that_a_record_leads_to_is_not_called(capsys, name):
    folder = network_folder(Path("stranger/networks"), model={"name": name}, in_shape=[1, 8, 8])
    record = record_of(folder, Path("stranger/runs"))
    assert "name it yourself: --build" in refused(capsys, "diagnose", str(record))


@pytest.mark.parametrize("name", CALLS)
def test_the_data_that_a_folder_names_are_not_called(capsys, name):
    folder = network_folder(Path("stranger/networks"), data={"name": name})
    assert "name it yourself: --data" in refused(capsys, "diagnose", str(folder))


def test_a_function_is_called_that_the_user_names_too(capsys):
    Path("named_stranger_nets.py").write_text(
        "from torch import nn\n"
        "def make(in_shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    tensors = {"1.weight": torch.randn(10, 64), "1.bias": torch.randn(10)}
    folder = network_folder(Path("own"), model={"name": "named_stranger_nets:make"}, tensors=tensors)
    assert "--build named_stranger_nets:make" in refused(capsys, "diagnose", str(folder))
    assert main(["diagnose", str(folder), "--build", "named_stranger_nets:make", "--data", "random"]) == 0


@pytest.mark.parametrize(
    "name",
    ["timm:hf-hub:x/y", "timm:../x", "torchvision:", "transformers:/tmp/x", "transformers:bert,attn=a/b",
     "transformers:detr,use_pretrained_backbone=true", "transformers:../x", "os:system", "timm"],
)  # fmt: skip
def test_only_the_names_of_a_zoo_are_trusted(name):
    assert not is_zoo(name)


@pytest.mark.parametrize(
    "name", ["timm:resnet18.a1_in1k", "torchvision:resnet18", "transformers:bert,hidden_size=64"]
)
def test_the_names_of_a_zoo_are_trusted(name):
    assert is_zoo(name)


@pytest.mark.parametrize("name", ["list_models", "get_model", "sys", "_api", "ops", "resnet"])
def test_a_zoo_is_its_register_of_networks(name):
    with pytest.raises(IsopruneError, match="torchvision has no network"):
        open_source(f"torchvision:{name}")


def test_a_folder_of_transformers_brings_no_code():
    pytest.importorskip("transformers")
    Path("theirs").mkdir()
    Path("theirs/modeling.py").write_text("open('PWNED', 'w').close()\n")
    auto = {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Net"}
    Path("theirs/config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    with pytest.raises(IsopruneError, match="No config of transformers"):
        open_source("transformers:theirs")
    assert not Path("PWNED").exists()


@pytest.mark.parametrize("width", [40_000, 10**6])
def test_a_small_file_builds_no_large_network(capsys, width):
    folder = network_folder(Path("stranger"), model={"name": "mlp_7", "width": width, "depth": 4})
    assert "far more weights than it holds" in refused(capsys, "diagnose", str(folder))


def test_a_small_saved_folder_builds_no_large_network_of_a_library(capsys):
    pytest.importorskip("transformers")
    large = "transformers:bert,hidden_size=8192,num_attention_heads=64,num_hidden_layers=40"
    folder = network_folder(Path("stranger"), saved={"source": large})
    (folder / "step.json").unlink()
    assert "far more weights than it holds" in refused(capsys, "diagnose", str(folder))


def test_a_folder_called_as_an_optional_package_is_not_imported(capsys):
    Path("onnx.py").write_text("open('PWNED', 'w').close()\n")
    main(["methods"])
    assert str(Path.cwd()) not in sys.path


CONFIG = {
    "seed": 0, "data": {"name": "digits", "limit": 100}, "model": {"name": "mlp_7", "width": 8, "depth": 2},
    "dense": {"epochs": 1, "lr": 0.01}, "prune": {"ratio": 0.5}, "retrain": {"epochs": 0},
}  # fmt: skip


def test_a_store_is_rebuilt_from_the_running_experiment():
    store = Store(Path("shared"))
    record = run(experiment(CONFIG), store)
    for path in store.root.glob("networks/*/step.json"):
        facts = json.loads(path.read_text())
        facts["config"]["model"] = {"name": "stranger_nets:make"}
        path.write_bytes(sealed(facts))
    for path in store.root.glob("runs/*/record.json"):
        path.unlink()
    assert run(experiment(CONFIG), store).networks == record.networks or not Path("PWNED").exists()
    assert not Path("PWNED").exists()


@pytest.mark.parametrize("part", ["table", "config"])
def test_a_recipe_is_compared_before_it_is_resolved(capsys, part):
    words = ["prune", "mlp_7", "--data", "digits", "--dense-epochs", "1", "--ratio", ".5", "--out", "small"]
    request = {
        "source": "mlp_7", "data": "digits", "target": {"ratio": 0.5}, "pruning": {}, "epochs": 10,
        "dense_epochs": 1, "seed": 0, "shape": None, "weights": None, "settings": [],
    }  # fmt: skip
    theirs = {**CONFIG, "model": {"name": "stranger_nets:make"}}
    found = {"request": request, "ratio": 0.0, "config": theirs, part: theirs}
    Path("small").mkdir()
    Path("small/recipe.json").write_bytes(sealed(found))
    refused(capsys, *words)
