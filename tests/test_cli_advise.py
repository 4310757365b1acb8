"""`isoprune advise`: what it opens, what it keeps, what it prints and writes, and what it refuses."""

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
from diagnosing import DIGITS, SHAPE, save_small
from experiment.tiny import one_thread, tiny
from isoprune.cli import advise_probes, main
from isoprune.experiment.grid import parse_override
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.export import open_source
from isoprune.training import Probe

NET = ("diagnosed_nets:Net", *DIGITS, "--samples", "4", "--epochs", "1", "--rates", "0.01,0.1")


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


def told(capsys, *words):
    assert main(["advise", *map(str, words)]) == 0
    return capsys.readouterr()


def numbers(capsys, *words):
    told(capsys, *words, "--out", "numbers.json")
    return json.loads(Path("numbers.json").read_text())


def refused(capsys, *words):
    assert main(["advise", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("isoprune: ")
    return lines[0]


def kept():
    return sorted((Path("cache") / "advice").glob("*"))


def test_own_network_gets_the_advice_of_the_library(capsys):
    got = numbers(capsys, *NET)
    splits = isoprune.data.load("digits", seed=0, size=8)
    want = isoprune.advise(
        open_source("diagnosed_nets:Net", shape=[1, 1, 8, 8]).model, splits, epochs=1, rates=(0.01, 0.1)
    )
    for key, value in json.loads(json.dumps(want.as_dict())).items():
        assert got[key] == value
    assert got["settings"]["data"] == "digits"
    assert got["damage"]["samples"] == 4
    assert "dense_jsv_mean" not in got["damage"]["numbers"]


def test_what_is_printed_can_be_copied_and_is_backed_by_numbers(capsys):
    out = told(capsys, *NET, "--batch", "50", "--schedule", "{name = 'one_cycle', rise = 0.5}").out
    lr = re.search(r"^Advised: lr = ([\d.]+), schedule = \{ name = \"one_cycle\", rise = 0.5 \}$", out, re.M)[
        1
    ]
    for rate in ("0.01", "0.1"):
        mark = "advised" if rate == lr else ""
        assert re.search(rf"^ {rate} +[\d.]+% +[\d.]+% +[\d.]+ +{mark} *$", out, re.M), out
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
    folder = store.folder("repaired", content["networks"]["repaired"])
    assert numbers(capsys, folder, *words)["probes"] == got["probes"]
    assert numbers(capsys, record.parent, "--stage", "pruned", *words)["network"].startswith("pruned mlp_7")
    network, _ = load_network(folder)
    splits = isoprune.data.load("digits", seed=0, limit=150, size=8)
    want = isoprune.advise(network, splits, epochs=3, batch=50, rates=(0.01, 0.1))
    assert got["lr"] == want.lr
    assert [row["accuracy"] for row in got["probes"]] == [p.accuracy for p in want.probes]
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
    assert got["held"] >= 1


@pytest.mark.parametrize("end", [0, 1])
def test_interrupted_command_goes_on_and_ends_with_the_same(capsys, monkeypatch, end):
    words = (*NET[:-1], "0.01,0.1,0.3")
    real, count = advise_probes.Kept.add, 0

    def stopping(self, probe):
        nonlocal count
        if count == end:
            raise KeyboardInterrupt
        count += 1
        real(self, probe)

    with monkeypatch.context() as patched:
        patched.setattr(advise_probes.Kept, "add", stopping)
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("diagnosed_nets:Net", *DIGITS), r"required: --epochs\. See: isoprune advise --help"),
        ((*NET, "--epochs", "0"), r"--epochs is 0, but must be at least 1"),
        ((*NET, "--epochs", "x"), r"argument --epochs: invalid int value"),
        ((*NET, "--steps", "0"), r"--steps is 0, but must be at least 1"),
        ((*NET, "--batch", "0"), r"--batch is 0, but must be at least 1"),
        ((*NET, "--momentum", "1"), r"--momentum is 1, outside \[0, 1\)"),
        ((*NET, "--weight-decay", "nan"), r"--weight-decay is nan, outside"),
        ((*NET, "--rates", "fast"), r"--rates fast is no list of rates above 0.*Write for example"),
        ((*NET, "--rates", "0.1,0.01"), r"each larger than the last"),
        ((*NET, "--rates", "0.1,0.1"), r"each larger than the last"),
        ((*NET, "--rates", "nan"), r"--rates nan is no list"),
        ((*NET, "--rates", "0.1,inf"), r"--rates is inf, outside"),
        ((*NET, "--rates="), r"--rates is no list"),
        ((*NET, "--schedule", "cosin"), r"Unknown schedule 'cosin'\. Did you mean 'cosine'"),
        ((*NET, "--schedule", "{name = cosine}"), r"--schedule \{name = cosine\} is not a TOML table"),
        ((*NET, "--schedule", "{name = 'one_cycle', rise = 2.0}"), r"rise = 2\.0"),
        ((*NET, "--schedule", "{name = 'one_cycle', ris = 0.2}"), r"Unknown option 'ris'.*\(--schedule\)"),
        ((*NET, "--distill", "0.9"), r"--distill 0\.9 is no weight in \[0, 1\] and temperature above 0"),
        ((*NET, "--distill", "2,4"), r"--distill 2,4 is no weight"),
        ((*NET, "--distill", "0.9,4"), r"there is none\. Give it: --dense DENSE"),
        ((*NET, "--samples", "0"), r"--samples 0: at least one input"),
        ((*NET, "--out", "a.pdf"), r"--out a\.pdf is none of \.html, \.json, \.svg, \.png"),
        ((*NET, "--stage", "prund"), r"Unknown stage 'prund'\. Did you mean 'pruned'"),
        ((*NET, "--stage", "pruned"), r"is a source and has no stages"),
        ((*NET, "--data", "random"), r"--data random has no labels to train on\. Give a data set"),
        ((*NET, "--data", "digit"), r"Unknown data set 'digit'\. Did you mean 'digits'"),
        ((*NET, "--data", "{size = 8}"), r"--data has no name"),
        ((*NET, *SHAPE, "--data", "."), r"has no folder, and a class is one|no image"),
        ((*NET, "--weights", "w.pt"), r"w\.pt"),
        (("diagnosed_nets:Net", *SHAPE, "--epochs", "1"), r"Say what to train Net .* on: --data with"),
        (("diagnosed_nets:Nett", *NET[1:]), r"has no function 'Nett'"),
        (("nowhere", *NET[1:]), r"No nowhere\. Give a record\.json"),
        (("diagnosed_nets:Wide", *NET[1:]), r"Wide .* does not take training images of digits"),
        (("diagnosed_nets:detached", *NET[1:]), r"do not depend on the input"),
        ((*NET, "--dense", "diagnosed_nets:Wide"), r"The dense network does not take training images"),
    ],
)  # fmt: skip
def test_bad_commands_are_one_line(capsys, words, message):
    assert re.search(message, refused(capsys, *words))


def test_network_without_an_output_for_every_class(capsys):
    words = ("diagnosed_nets:coupled", *DIGITS, "--epochs", "1")
    assert "The network has 4 outputs and the data has a class 9" in refused(capsys, *words)


def test_rates_that_all_diverge_are_refused_with_the_remedy(capsys):
    assert main(["advise", *NET[:-1], "1e20,1e25"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert re.search(
        r"^isoprune: Training diverges at every rate from 1e\+20 to 1e\+25\. .* smaller rates", last
    )


def test_kept_probes_that_are_damaged_or_cannot_be_written(capsys, tmp_path):
    told(capsys, *NET)
    (file,) = kept()
    for text in ("{", "[]", "{}", '{"probes": [{"rate": 1}]}', '{"probes": 3}'):
        file.write_text(text)
        line = refused(capsys, *NET)
        assert re.search(r"is damaged: .*Delete it and start again: its probes are then run anew", line)
    (tmp_path / "cache" / "advice").rename(tmp_path / "other")
    (tmp_path / "cache" / "advice").write_text("")
    assert re.search(r"Probes cannot be kept in .* Set ISOPRUNE_DATA to a directory", refused(capsys, *NET))


def test_kept_probes_come_back_as_they_were(tmp_path):
    store = advise_probes.Kept(tmp_path / "deep" / "probes.json")
    assert store.read() == {}
    store.require_writable()
    probes = [Probe(0.1, 8, 1 / 3, 2.5), Probe(0.03, 8, 0.1 + 0.2, 1e-17), Probe(1.0, 8, None, None)]
    for probe in probes:
        store.add(probe)
    assert store.read() == {probe.lr: probe for probe in probes}
    assert list(tmp_path.rglob("*.tmp")) == []


def test_out_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/x.json", "file/x.html", "file/x.svg"):
        assert main(["advise", *NET, "--out", name]) == 2
        assert re.search(r"annot (be )?writ.* Give another place", capsys.readouterr().err)
