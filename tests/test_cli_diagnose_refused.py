"""`isoprune diagnose` refuses what it cannot do in one line that says what to do, and exits with 2."""

from __future__ import annotations

import re
import sys

import pytest

from diagnosing import DIGITS, SHAPE, refused, save_small
from isoprune.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small():
    return save_small()


def test_a_saved_folder_does_not_get_to_import_what_it_names(capsys, small, monkeypatch):
    folder, _ = small
    sys.modules.pop("diagnosed_nets", None)
    line = refused(capsys, folder, *DIGITS)
    assert "its model is made by 'diagnosed_nets:with_inputs'. A file may come from anybody" in line
    assert "--build diagnosed_nets:with_inputs" in line
    assert "diagnosed_nets" not in sys.modules


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diagnosed_nets:Net", *SHAPE], r"Say what to measure Net .* on: --data with a data set"),
        (["diagnosed_nets:Net", "--data", "random"], r"not say what its forward takes\. Give --shape"),
        (["diagnosed_nets:Net", "--data", "example"], r"diagnosed_nets:Net\) has none\. Give a data set"),
        (["diagnosed_nets:with_inputs", *SHAPE, "--data", "example"], r"has none\. Give a data set"),
        (["diagnosed_nets:Net", *SHAPE, "--data", "digit"], r"set 'digit'\. Did you mean 'digits'"),
        (["diagnosed_nets:Net", *SHAPE, "--data", "{name = digits}"], r"\{name = digits\} is not a TOML"),
        (["diagnosed_nets:Net", *SHAPE, "--data", "{size = 8}"], r"--data has no name"),
        (["diagnosed_nets:Wide", *DIGITS], r"Wide .* does not take val.* \(shape \(1, 1, 8, 8\)\)"),
        (["torchvision:alexnet", "--data", "example"], r"example means the inputs that your own function"),
        (["diagnosed_nets:Nett", *SHAPE, *DIGITS], r"has no function 'Nett'"),
        (["resnet18", *DIGITS], r"No resnet18\. Give a record\.json.*torchvision:resnet50"),
        (["diagnosed_nets:Net", *SHAPE, *DIGITS, "--stage", "pruned"], r"is a source and has no stages"),
        (["diagnosed_nets:Net", "--stage", "prund"], r"Unknown stage 'prund'\. Did you mean 'pruned'"),
        (["diagnosed_nets:Net", "--out", "x.pdf"], r"--out x\.pdf is none of \.html, \.json"),
        (["diagnosed_nets:Net", *DIGITS, "--fitted", "f.json"], r"Give --retrain-samples too"),
        (["diagnosed_nets:Nett", *DIGITS, "--retrain-samples=9", "--fitted=f.json"], r"^isoprune: f\.json"),
        (["diagnosed_nets:Net", "--shape", "1,x"], r"--shape 1,x is no list of sizes"),
        (["diagnosed_nets:Words", "--data", "."], r"holds images, and Words .* does not take one"),
        (["diagnosed_nets:Net", *SHAPE, "--data", "."], r"No image below \."),
    ],
)  # fmt: skip
def test_bad_commands_are_one_line(capsys, words, message):
    assert re.search(message, refused(capsys, *words))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"NaN or infinity\. Check the inputs, and the weights"),
        ("dropout", r"not deterministic: .* Look for F\.dropout"),
        ("detached", r"do not depend on the input: .* Remove that"),
        ("coupled", r"Samples influence each other"),
    ],
)
def test_networks_that_cannot_be_measured_are_one_line(capsys, kind, message):
    assert re.search(message, refused(capsys, f"diagnosed_nets:{kind}", *DIGITS))


def test_a_saved_network_has_its_weights_and_no_stages(capsys, small):
    folder, _ = small
    assert "is a saved network and has no stages" in refused(capsys, folder, *DIGITS, "--stage", "pruned")
    assert "with its own weights. Leave out --weights" in refused(
        capsys, folder, *DIGITS, "--weights", "w.safetensors"
    )


def test_dense_of_another_shape_is_refused(capsys, small):
    line = refused(
        capsys, small[0], "--build", "diagnosed_nets:with_inputs", "--dense", "diagnosed_nets:Wide", *DIGITS
    )
    assert "The dense network does not take validation images of digits" in line


def test_out_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file/x.json", "file/x.html"):
        words = ["diagnosed_nets:with_inputs", "--data", "example", "--repairs", "none", "--out", name]
        assert main(["diagnose", *words]) == 2
        assert re.search(r"annot (be )?writ.* Give another place", capsys.readouterr().err)
