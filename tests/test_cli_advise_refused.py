"""`isoprune advise` refuses what it cannot do in one line that says what to do, and exits with 2."""

from __future__ import annotations

import json
import re

import pytest

from advising import NET, kept, refused, told
from diagnosing import DIGITS, SHAPE
from isoprune.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("diagnosed_nets:Net", *DIGITS), r"--epochs requires an argument\. See: isoprune advise --help"),
        ((*NET, "--epochs", "0"), r"epochs = 0, .* Give 1 or more"),
        ((*NET, "--epochs", "x"), r"Invalid value for --epochs: unable to convert .x. into int"),
        ((*NET, "--steps", "0"), r"--steps is 0, but must be at least 1"),
        ((*NET, "--batch", "0"), r"--batch is 0, but must be at least 1"),
        ((*NET, "--momentum", "1"), r"--momentum is 1, outside \[0, 1\)"),
        ((*NET, "--optimizer", "adam"), r'"adam" for --optimizer\. Choose from: "sgd", "adamw"'),
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
        ((*NET, "--distill", "0.9"), r"--distill 0\.9 is no weight and temperature\. Write"),
        ((*NET, "--distill", "2,4"), r"--distill\.weight is 2\.0, outside \[0, 1\]"),
        ((*NET, "--distill", "0.5,0"), r"--distill\.temperature is 0\.0, outside \(0, inf\)"),
        ((*NET, "--distill", "0.5,inf"), r"--distill\.temperature is inf, outside"),
        ((*NET, "--distill", "nan,4"), r"--distill\.weight is nan, outside"),
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


def test_kept_probes_that_are_damaged_are_run_again_and_it_is_said(capsys):
    told(capsys, *NET)
    (file,) = kept()
    whole = json.loads(file.read_text())
    for text in ("{", "[]", "{}", '{"probes": [{"rate": 1}]}', '{"probes": 3}'):
        file.write_text(text)
        assert main(["advise", *NET]) == 0
        assert re.search(r"is damaged: .* The probes are run again\.", capsys.readouterr().err)
        assert [p["lr"] for p in json.loads(file.read_text())["probes"]] == [p["lr"] for p in whole["probes"]]


def test_probes_that_cannot_be_kept(capsys, tmp_path):
    told(capsys, *NET)
    (tmp_path / "cache" / "advice").rename(tmp_path / "other")
    (tmp_path / "cache" / "advice").write_text("")
    assert re.search(r"Probes cannot be kept in .* Set ISOPRUNE_DATA to a directory", refused(capsys, *NET))


def test_out_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/x.json", "file/x.html", "file/x.svg"):
        assert main(["advise", *NET, "--out", name]) == 2
        assert re.search(r"annot (be )?writ.* Give another place", capsys.readouterr().err)
