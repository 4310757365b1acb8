"""Networks of libraries and of functions without arguments as the model of an experiment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from data.painted import folder
from experiment.tiny import HERE, bits, one_thread, roles, tiny
from isoprune.experiment.config import Experiment
from isoprune.experiment.data_fit import fitting
from isoprune.experiment.digests import run_digest
from isoprune.experiment.foreign_models import is_network_maker
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.signatures import find
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError
from isoprune.types.record import Record

OWN = """
import torch
from torch import nn

def net(inputs=64, width=6):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 10))

def pair():
    made = net()
    with torch.no_grad():
        for p in made.parameters():
            p.fill_(0.25)
    return made, torch.zeros(1, 1, 8, 8)

def drawn():
    return net()

def wide(width=6, depth=2):
    return net(width=width)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 6), nn.Linear(6, 10)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).relu())

made = net()

def shapes(in_shape=(1, 8, 8), classes=10):
    return net(in_shape[0] * in_shape[1] * in_shape[2])

def required(in_shape, classes, *, width):
    return net(width=width)

def half(classes):
    return net()

def number():
    return 3

def few():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 9))

def images():
    return nn.Sequential(nn.Flatten(1, 2), nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))

def maps():
    return nn.Conv2d(1, 10, 3)

def several():
    class Two(nn.Module):
        def forward(self, x):
            return x, x
    return Two()
"""
PLAIN: dict[str, Any] = {"dense": {"epochs": 0}, "retrain": {"epochs": 0}, "repair": "none"}
SHORT = {"epochs": 1, "lr": 0.01, "batch": 50, "jsv_samples": 0}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_opened_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with one_thread():
        yield
    sys.modules.pop("own_opened_nets", None)


def own(name: str, **changes: Any) -> Experiment:
    return tiny(**{**PLAIN, "model": f"own_opened_nets:{name}", **changes})


def stored(store: Store, record: Record, stage: str) -> dict[str, torch.Tensor]:
    return load_file(store.folder(record.network(stage).digest) / "model.safetensors")


@pytest.mark.matrix
@pytest.mark.parametrize("source", ["torchvision:resnet18", "timm:resnet18"])
def test_a_network_of_a_library_starts_from_a_file_pinned_by_its_content(source: str, tmp_path: Path):
    torch.manual_seed(0)
    state = torchvision.models.resnet18(num_classes=1000).state_dict()
    file = tmp_path / "trained.safetensors"
    save_file(state, file)
    data = {"name": "image_folder", "root": str(folder(tmp_path / "images", {"a": 12, "b": 12})), "size": 32}
    asked = tiny(
        data=data,
        model={"name": source, "weights": str(file)},
        prune={"flops": 0.5},
        measure={"samples": 1, "bins": 8},
        **{**PLAIN, "retrain": SHORT | {"batch": 8}},
    )
    store = Store(tmp_path / "store")
    record = run(asked, store)
    pinned = record.config["model"]["weights"]
    assert pinned.startswith(f"{file}@sha256:")
    dense = stored(store, record, "dense")
    assert dense.keys() == state.keys()
    assert all(torch.equal(dense[name], tensor) for name, tensor in state.items())
    assert record.network("pruned").flops <= 0.5 * record.network("dense").flops
    # What is in the store no longer needs the file.
    file.unlink()
    x = torch.randn(2, 3, 32, 32)
    for stage, found in roles(record).items():
        network, facts = load_network(store.folder(found.digest))
        assert facts["in_shape"] == [3, 32, 32]
        assert all(torch.equal(t, network.state_dict()[n]) for n, t in stored(store, record, stage).items())
        assert network(x).shape == (2, 1000)
    save_file({name: t + 1 if t.is_floating_point() else t for name, t in state.items()}, file)
    assert run_digest(resolve(asked).as_dict()) != record.digest


def test_a_function_without_arguments_is_the_dense_network_and_comes_back_from_the_store(tmp_path: Path):
    store = Store(tmp_path / "store")
    record = run(own("pair", retrain=SHORT), store)
    assert all((t == 0.25).all() for t in stored(store, record, "dense").values())
    model = record.config["model"]
    assert (model["name"], model["weights"]) == ("own_opened_nets:pair", "none")
    # Half of the six go.
    widths = {
        stage: load_network(store.folder(network.digest), ["own_opened_nets:pair"])[0][1].out_features
        for stage, network in roles(record).items()
    }
    assert widths == {"dense": 6, "pruned": 3, "repaired": 3, "retrained": 3}
    again = run(own("pair", retrain=SHORT), Store(tmp_path / "again"))
    assert bits(again) == bits(record)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["drawn", "wide", "Net"])
def test_what_a_function_draws_follows_the_seed(name: str, tmp_path: Path):
    def first(seed: int, before: int) -> torch.Tensor:
        torch.manual_seed(before)
        store = Store(tmp_path / f"{seed}-{before}")
        return next(iter(stored(store, run(own(name, seed=seed), store), "dense").values()))

    assert torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))


def test_a_function_of_shapes_stays_as_it_is():
    """Also where its arguments have defaults; one whose defaults are others' is called without any."""
    assert not is_network_maker(find("model", f"{HERE}:plain"))
    assert not is_network_maker(find("model", "own_opened_nets:shapes"))
    assert not is_network_maker(find("model", "own_opened_nets:required"))
    for name in ("wide", "Net", "pair", "half", "made"):
        assert is_network_maker(find("model", f"own_opened_nets:{name}")), name


def test_a_module_of_the_module_is_a_network_too(tmp_path: Path):
    store = Store(tmp_path / "store")
    record = run(own("made"), store)
    before = sys.modules["own_opened_nets"].made.state_dict()
    assert all(torch.equal(t, before[name]) for name, t in stored(store, record, "dense").items())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("torchvision:resnet19", r"^torchvision has no network 'resnet19'\. Did you mean resnet18 or "),
        ("timm:no_such_network", r"^timm has no network 'no_such_network'"),
        ("own_opened_nets:nothing", r"^'own_opened_nets' has no function 'nothing'"),
        ("no_such_module:net", r"^Cannot import 'no_such_module' of 'no_such_module:net'"),
        ("own_opened_nets:half", r"own_opened_nets:half needs classes\. Give a function without arguments"),
        ("own_opened_nets:number", r"own_opened_nets:number returned a int, not a module"),
        ({"name": "own_opened_nets:pair", "width": 3}, r"^Unknown option 'width' of model"),
        ({"name": "own_opened_nets:required"}, r"needs the option 'width'"),
        (
            {"name": "own_opened_nets:pair", "weights": "nowhere.safetensors"},
            r'^weights = "nowhere\.safetensors": there is no such file',
        ),
    ],
)
def test_a_network_that_is_none_is_refused_in_one_line(model: Any, message: str, tmp_path: Path):
    with pytest.raises(IsopruneError, match=message) as caught:
        run(tiny(**PLAIN, model=model), Store(tmp_path / "store"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["torchvision:resnet19", "timm:no_such_network"])
def test_a_name_that_a_library_does_not_have_is_refused_before_anything_is_read(model: str):
    with pytest.raises(IsopruneError, match="has no network"):
        resolve(tiny(**PLAIN, model=model))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("few", r"^The network has 9 outputs and the data has a class 9\. Build the network for 10 classes"),
        (
            "images",
            r"^own_opened_nets:images does not take samples of shape \(1, 16, 16\), .* digits has: Runt",
        ),
        ("maps", r"^own_opened_nets:maps returns \(1, 10, 14, 14\) for one sample, and training takes a row"),
        ("several", r"^own_opened_nets:several returns tuple for one sample, and training takes a row of"),
    ],
)
def test_network_and_data_that_do_not_fit_are_told_before_anything_else(name: str, message: str):
    size = 8 if name == "few" else 16
    chosen = resolve(own(name, data={"name": "digits", "limit": 50, "size": size}, retrain=SHORT))
    with pytest.raises(IsopruneError, match=message):
        fitting(chosen)


def test_what_fits_is_returned_as_it_is_before_training():
    chosen = resolve(own("pair", retrain=SHORT))
    model, splits = fitting(chosen)
    assert splits.in_shape == (1, 8, 8)
    assert all((p == 0.25).all() for p in model.parameters())
