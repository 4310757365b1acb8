"""`isoprune advise`: what it opens, what it keeps, what it prints and writes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import isoprune
from advising import NET, kept, numbers, told
from diagnosing import DIGITS, SHAPE, save_small
from experiment.tiny import one_thread, tiny
from isoprune.cli import main
from isoprune.experiment.grid import parse_override
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.export import open_source
from isoprune.training import probe_cache
from recipes import network


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = Store(tmp_path_factory.mktemp("advise") / "runs")
    with one_thread():
        run(tiny(), made, name="one")
    return made


@pytest.fixture
def record(store):
    (path,) = (store.root / "runs").glob("*/record.json")
    return path


def coupled():
    """Return a network whose samples influence each other, as no Jacobian of one sample allows."""

    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    return nn.Sequential(nn.Flatten(), Centred(), nn.Linear(64, 10))


def deaf():
    """Return a network that neither its input nor a gradient passes: it cannot learn."""

    class Cut(nn.Module):
        def forward(self, x):
            return 0.0 * x

    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Cut())


def test_own_network_gets_the_advice_of_the_library(capsys):
    got = numbers(capsys, *NET)
    splits = isoprune.data.load("digits", seed=0, size=8)
    want = isoprune.advise(
        open_source("diagnosed_nets:Net", shape=[1, 1, 8, 8]).model, splits, epochs=1, rates=(0.01, 0.1)
    )
    wanted = want.as_dict()
    for probe in wanted["probes"]:
        del probe["seconds"]
    for key, value in json.loads(json.dumps(wanted)).items():
        assert got[key] == value
    assert got["settings"]["data"] == "digits"
    assert got["damage"]["samples"] == 4
    assert "dense_jsv_mean" not in got["damage"]["numbers"]


def test_adamw_is_asked_of_its_own_rates_and_is_in_every_line_to_copy(capsys):
    got = numbers(capsys, *NET[:-2], "--optimizer", "adamw")
    want = isoprune.advise(
        open_source("diagnosed_nets:Net", shape=[1, 1, 8, 8]).model,
        isoprune.data.load("digits", seed=0, size=8),
        epochs=1,
        optimizer="adamw",
    )
    assert got["rates"] == list(want.rates)
    assert [row["metric_value"] for row in got["probes"]] == [p.metric_value for p in want.probes]
    assert got["settings"]["optimizer"] == "adamw"
    assert tomllib.loads(got["copy"]["config"])["retrain"]["optimizer"] == "adamw"
    assert "--set retrain.optimizer=adamw" in got["copy"]["command line"]
    assert "optimizer='adamw'" in got["copy"]["Python"]


def test_what_is_printed_can_be_copied_and_is_backed_by_numbers(capsys):
    out = told(capsys, *NET, "--batch", "50", "--schedule", "{name = 'one_cycle', rise = 0.5}").out
    lr = re.search(r"^Advised: lr = ([\d.]+), schedule = \{ name = \"one_cycle\", rise = 0.5 \}$", out, re.M)[
        1
    ]
    for rate in ("0.01", "0.1"):
        mark = "advised" if rate == lr else ""
        assert re.search(rf"^ {rate} +{mark} +[\d.]+ +[\d.]+ +[\d.]+ +\d+ *$", out, re.M), out
    assert "(measured on 4 training inputs)." in out
    assert "of a grid of 2 full trainings." in out
    assert re.search(r"^Accuracies are of 129 held-out training samples", out, re.M)
    assert "Each rate was probed once" in out
    line = re.search(r"^  command line +(.*)$", out, re.M)[1]
    given = dict(parse_override(word) for word in shlex.split(line) if word != "--set")
    want = {
        "retrain.epochs": 1,
        "retrain.batch": 50,
        "retrain.lr": float(lr),
        "retrain.schedule": {"name": "one_cycle", "rise": 0.5},
    }
    assert given == want
    config = tomllib.loads(re.search(r"^  config +(.*)$", out, re.M)[1])
    assert {f"retrain.{key}": value for key, value in config["retrain"].items()} == want
    python = re.search(r"^  Python +isoprune\.retrain\(network, splits, (.*)\)$", out, re.M)[1]
    called = eval(f"dict({python})", {"isoprune": isoprune})  # what a reader would paste
    assert called["lr"] == float(lr)
    assert called["schedule"](0.5) == 1.0


def test_record_is_advised_on_its_repaired_network_its_data_and_its_dense_one(capsys, store, record):
    before = sorted(store.root.rglob("*"))
    words = ("--epochs", "3", "--batch", "50", "--samples", "4", "--rates", "0.01,0.1")
    got = numbers(capsys, record, *words)
    content = json.loads(record.read_text())
    assert got["network"].startswith("repaired mlp_7")
    assert got["damage"]["numbers"]["jsv_mean"] > 0
    assert got["damage"]["numbers"]["dense_jsv_mean"] > 0
    assert got["steps"] == 9  # of 150 training images in batches of 50
    assert got["settings"]["data"] == "digits"
    folder = store.folder(network(content, "repaired")["digest"])
    assert numbers(capsys, folder, *words)["probes"] == got["probes"]
    assert numbers(capsys, record.parent, "--stage", "pruned", *words)["network"].startswith("pruned mlp_7")
    loaded, _ = load_network(folder)
    splits = isoprune.data.load("digits", seed=0, limit=150, size=8)
    want = isoprune.advise(loaded, splits, epochs=3, batch=50, rates=(0.01, 0.1))
    assert got["lr"] == want.lr
    assert [row["metric_value"] for row in got["probes"]] == [p.metric_value for p in want.probes]
    # Probes are kept in the cache: a store may be read-only.
    assert sorted(store.root.rglob("*")) == before


def test_saved_network_learns_from_its_dense_one(capsys):
    folder, _ = save_small()
    common = (folder, *DIGITS, "--dense", "diagnosed_nets:with_inputs", "--samples", "4", "--epochs", "1")
    plain = numbers(capsys, *common, "--rates", "0.1")
    taught = numbers(capsys, *common, "--rates", "0.1", "--distill", "0.9,4")
    assert plain["probes"] != taught["probes"]
    assert taught["settings"]["distill"] == "weight 0.9, temperature 4"
    assert "distill = { weight = 0.9, temperature = 4.0 }" in taught["copy"]["config"]
    assert "dense=dense" in taught["copy"]["Python"]
    assert plain["damage"]["numbers"]["dense_jsv_mean"] > 0


def test_folder_of_labelled_images(capsys, tmp_path):
    for name, grey in (("dark", 10), ("bright", 240)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (10, 9), grey + i).save(tmp_path / "photos" / name / f"{i}.png")
    got = numbers(
        capsys, "diagnosed_nets:Net", *SHAPE, "--data", "photos", "--epochs", "4", "--batch", "4",
        "--samples", "2", "--rates", "0.1",
    )  # fmt: skip
    assert got["settings"]["data"] == "image_folder"
    assert got["judge_samples"] >= 1


@pytest.mark.matrix
@pytest.mark.parametrize("end", [0, 1])
def test_interrupted_command_goes_on_and_ends_with_the_same(capsys, monkeypatch, end):
    words = (*NET[:-1], "0.01,0.1,0.3")
    real, count = probe_cache.ProbeCache.add, 0

    def stopping(self, probe):
        nonlocal count
        if count == end:
            raise KeyboardInterrupt
        count += 1
        real(self, probe)

    with monkeypatch.context() as patched:
        patched.setattr(probe_cache.ProbeCache, "add", stopping)
        assert main(["advise", *words]) == 130
    err = capsys.readouterr().err
    assert f"Stopped. {end} of 3 probes are kept; the same command goes on with the next." in " ".join(
        err.split()
    )
    captured = told(capsys, *words, "--out", "gone_on.json")
    assert captured.err.count("rate ") == 3 - end
    assert ("1 of 3 probes were kept and are not run again." in captured.err) == (end == 1)
    monkeypatch.setenv("ISOPRUNE_DATA", "elsewhere")
    told(capsys, *words, "--out", "at_once.json")
    assert Path("gone_on.json").read_text() == Path("at_once.json").read_text()


def test_finished_probes_are_kept_for_more_rates(capsys):
    told(capsys, *NET)
    err = told(capsys, *NET[:-1], "0.01,0.03,0.1").err
    assert "2 of 3 probes were kept" in err
    assert re.findall(r"^rate ([\d.]+):", err, re.M) == ["0.03"]


@pytest.mark.parametrize(
    "words",
    [
        ("--epochs", "2"),
        ("--steps", "9"),
        ("--batch", "99"),
        ("--seed", "1"),
        ("--schedule", "cosine"),
        ("--weight-decay", "0"),
        ("--momentum", "0.8"),
        ("--optimizer", "adamw"),
        ("--data", '{name = "digits", size = 8, limit = 900}'),
    ],
)
def test_probes_of_another_question_are_never_mixed_in(capsys, words):
    told(capsys, *NET)
    assert len(kept()) == 1
    assert "were kept" not in told(capsys, *NET, *words).err
    assert len(kept()) == 2


def test_probes_of_another_network_of_the_same_shape_are_never_mixed_in(capsys, tmp_path):
    told(capsys, *NET)
    model = open_source("diagnosed_nets:Net", shape=[1, 1, 8, 8]).model
    torch.save({k: v + 1e-3 for k, v in model.state_dict().items()}, tmp_path / "other.pt")
    assert "were kept" not in told(capsys, *NET, "--weights", "other.pt").err
    assert len(kept()) == 2


def test_page_and_pictures(capsys):
    out = told(capsys, *NET, "--out", "new/advice.html").out
    assert "Written: new/advice.html" in out
    page = Path("new/advice.html").read_text(encoding="utf-8")
    assert "isoprune advice" in page
    for name, start in (("a.svg", b"<svg"), ("a.png", b"\x89PNG")):
        told(capsys, *NET, "--out", name)
        assert Path(name).read_bytes().startswith(start)


def test_network_that_cannot_be_measured_can_be_trained(capsys):
    got = numbers(capsys, f"{__name__}:coupled", *DIGITS, "--epochs", "1", "--rates", "0.01")
    assert got["damage"]["verdict"] is None
    assert "Samples influence each other" in got["damage"]["reason"]
    assert any(reason.startswith("The damage is not known") for reason in got["reasons"])


def test_network_that_cannot_learn_is_to_be_repaired_first(capsys):
    words = (f"{__name__}:deaf", *DIGITS, "--epochs", "1", "--rates", "0.01,0.1")
    out = told(capsys, *words).out
    assert "No rate learns anything within its probe: repair the network first." in out.splitlines()
    assert re.search(
        r"^No rate learns anything within the probe: .* Repair the network first: isoprune", out, re.M
    )
    got = numbers(capsys, *words)
    assert got["learns"] is False
    assert got["damage"]["verdict"] == "collapsed"
