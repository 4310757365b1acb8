"""`isoprune prune MODEL --data DATA`: one folder with all that came out; stopped, it goes on from there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import isoprune
from data.painted import folder
from experiment.tiny import one_thread
from isoprune.cli import main
from isoprune.experiment import Request, deliver, step_result
from isoprune.experiment.steps import retrain, train
from recipes import (
    COMMAND,
    DIGITS,
    OF_PHOTOS,
    dense,
    network,
    own_networks,
    record,
    same,
    tensors,
    told,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "120")
    # As in a process of its own that OMP_NUM_THREADS=1 is told to.
    with one_thread(), own_networks(tmp_path, monkeypatch):
        yield


def test_one_folder_holds_the_network_its_record_and_its_page(capsys, tmp_path):
    said = told(capsys, *COMMAND)
    assert sorted(p.name for p in Path("o").iterdir()) == [
        "index.html",
        "network",
        "recipe.json",
        "record.json",
        "runs",
    ]
    assert sorted(p.name for p in Path("o/network").iterdir()) == [
        "model.onnx",
        "model.safetensors",
        "plan.json",
    ]
    one = record()
    stored = isoprune.load("o/network", build=dense)
    assert sum(p.numel() for p in stored.parameters()) == network(one, "retrained")["parameters"]
    x = torch.randn(4, 1, 8, 8)
    _assert_onnx("o/network/model.onnx", stored, x)
    # What is printed is what is in the record.
    for stage in one["networks"]:
        name = stage["role"]
        line = next(line for line in said.splitlines() if line.split()[:1] == [name])
        assert f"{stage['metrics']['test_accuracy']:.2%}" in line
        assert f"{stage['parameters']:,}" in line
    before, after = network(one, "dense"), network(one, "retrained")
    assert (
        f"Test accuracy {before['metrics']['test_accuracy']:.2%} -> {after['metrics']['test_accuracy']:.2%}"
        in said
    )
    assert f"{after['flops'] / before['flops']:.0%} of the FLOPs" in said
    assert after["advice"]["probes"] == []
    assert f"Learning rate: {after['advice']['lr']:g}, without a probe" in said
    assert "Network: o/network (0.0 MB)" in said
    assert "ONNX: o/network/model.onnx, differs from torch by" in said
    assert "Page: o/index.html" in said
    assert [(row["model"], row["backend"]) for row in one["latency"]] == [
        (name, backend) for backend in ("eager", "onnxruntime") for name in ("dense", "pruned")
    ]
    page = Path("o/index.html").read_text()
    assert "What a forward takes" in page
    # It begins with accuracy, size and time.
    start = page[page.index("<h1>") : page.index("</header>")]
    assert f"Test accuracy {before['metrics']['test_accuracy']:.2%}" in start
    assert "A forward of one sample is faster: " in start


def _assert_onnx(file: str, network: torch.nn.Module, x: torch.Tensor) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    [got] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), network(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.matrix
def test_the_same_command_again_trains_nothing_and_tells_the_same(capsys, monkeypatch):
    first = told(capsys, *COMMAND)
    before, saved = record(), tensors()
    made: list[Path] = []
    monkeypatch.setattr(step_result, "save_step", lambda folder, *_, **__: made.append(folder))
    for module in (train, retrain):
        monkeypatch.setattr(module, "trained", lambda *_a, **_k: pytest.fail("trained again"))
    assert told(capsys, *COMMAND) == first
    assert made == []
    assert record() == before
    assert same(tensors(), saved)


@pytest.mark.matrix
def test_python_delivers_what_the_command_does_and_either_goes_on_from_the_other(capsys):
    settings = ("model.width=8", "model.depth=3")
    request = Request("mlp_7", DIGITS, {"ratio": 0.5}, epochs=3, dense_epochs=2, settings=settings)
    done = deliver(request, "o")
    made = tensors()
    isoprune.report([done.record], "o/index.html")
    trained = {file: file.stat().st_mtime_ns for file in Path("o/runs").rglob("step.json")}
    told(capsys, *COMMAND)
    assert same(tensors(), made)
    assert {file: file.stat().st_mtime_ns for file in Path("o/runs").rglob("step.json")} == trained


@pytest.mark.matrix
def test_what_was_deleted_is_delivered_again(capsys):
    told(capsys, *COMMAND)
    network = tensors()
    shutil.rmtree("o/network")
    Path("o/record.json").unlink()
    Path("o/index.html").unlink()
    told(capsys, *COMMAND)
    assert same(tensors(), network)
    assert Path("o/index.html").exists()
    assert Path("o/network/model.onnx").exists()


@pytest.mark.matrix
def test_settings_change_any_key(capsys):
    told(capsys, *COMMAND, "--set", "retrain.lr=0.01", "--set", "repair=orthp", "--set", "retrain.average=0")
    one = record()
    assert one["config"]["retrain"]["lr"] == 0.01
    assert one["config"]["repair"]["name"] == "orthp"
    assert "advice" not in network(one, "retrained")
    assert max(row["lr"] for row in network(one, "retrained")["history"][1:]) <= 0.01


@pytest.mark.matrix
def test_a_function_of_ones_own_needs_no_dense_training(capsys):
    words = ("own_recipe_nets:trained", "--data", DIGITS, "--ratio", "0.5", "--epochs", "1")
    said = told(capsys, *words)
    build = sys.modules["own_recipe_nets"].net
    small = isoprune.load("o/network", build=build)
    assert small[1].out_features == 6
    assert record()["config"]["dense"] == {"epochs": 0}
    assert "after" not in said.partition("\n")[0]


@pytest.mark.matrix
def test_without_out_the_folder_is_named_by_the_network(capsys):
    assert (
        main(["prune", "own_recipe_nets:trained", "--data", DIGITS, "--ratio", "0.5", "--epochs", "1"]) == 0
    )
    assert Path("trained-pruned/network/plan.json").exists()
    assert "Network: trained-pruned/network" in capsys.readouterr().out


@pytest.mark.matrix
def test_weights_come_from_a_file_and_are_pinned_by_its_content(capsys):
    net = isoprune.models.resnet56(in_shape=(1, 8, 8), classes=10, blocks=1)
    save_file(net.state_dict(), "trained.safetensors")
    words = (
        "resnet56",
        "--data",
        DIGITS,
        "--set",
        "model.blocks=1",
        "--weights",
        "trained.safetensors",
        "--dense-epochs",
        "1",
    )
    words = (*words, "--dense-epochs", "1")
    told(capsys, *words, "--ratio", "0.5", "--epochs", "1", "--set", "prune.scope=internal")
    pinned = record()["config"]["model"]["weights"]
    assert pinned.startswith("trained.safetensors@sha256:")


@pytest.mark.matrix
def test_a_folder_of_images_is_cut_to_what_the_network_takes(capsys):
    folder(Path("photos"), {"a": 12, "b": 12, "c": 12})
    told(capsys, *OF_PHOTOS)
    data = record()["config"]["data"]
    assert (data["name"], data["root"], data["size"], data["channels"]) == ("image_folder", "photos", 12, 3)
    told(
        capsys,
        *OF_PHOTOS,
        *("--shape", "1,3,10,10"),
        out="other",
    )
    assert record("other")["config"]["data"]["size"] == 10


@pytest.mark.matrix
def test_the_backends_asked_for_are_timed(capsys):
    told(capsys, *COMMAND, "--latency-report", "eager")
    assert {row["backend"] for row in record()["latency"]} == {"eager"}
    told(capsys, *COMMAND, "--latency-report", "onnxruntime,eager")
    assert [row["backend"] for row in record()["latency"][::2]] == ["onnxruntime", "eager"]


def test_without_onnx_the_rest_is_delivered_and_it_is_said(capsys, monkeypatch):
    monkeypatch.setattr("isoprune.experiment.delivery.installed", lambda: False)
    said = told(capsys, *COMMAND)
    assert "ONNX: not written, onnx is not installed: pip install 'isoprune[export]'." in said
    assert not Path("o/network/model.onnx").exists()
    assert {row["backend"] for row in record()["latency"]} == {"eager"}
