"""`isoprune diagnose` on any network: what it opens, what it measures on, what it writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import isoprune
from data.painted import folder
from diagnosing import DIGITS, SHAPE, numbers, refused, save_small, told
from forecast.by_hand import by_hand
from isoprune.cli import main
from isoprune.export import open_source
from isoprune.forecast import write_fitted
from isoprune.isometry import jacobian_singular_values
from isoprune.verbs.diagnose import every_repair


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def small():
    return save_small()


def test_own_function_is_measured_on_the_inputs_that_it_returns(capsys):
    got = numbers(capsys, "diagnosed_nets:with_inputs", "--data", "example")
    source = open_source("diagnosed_nets:with_inputs")
    sigma = jacobian_singular_values(source.model, source.example_inputs)
    assert got["numbers"]["jsv_mean"] == pytest.approx(float(sigma.double().mean()), rel=1e-6)
    assert got["provisos"] == ["Measured on the inputs that its function returns."]
    counts = got["networks"][0]["histogram"]["counts"]
    assert sum(counts) == sigma.numel()


def test_a_data_set_says_the_shape(capsys):
    words = ("diagnosed_nets:Net", "--repairs", "none", "--samples", "5")
    with_shape = numbers(capsys, *words, *SHAPE, *DIGITS)
    assert numbers(capsys, *words, *DIGITS)["numbers"] == with_shape["numbers"]


def test_a_folder_of_classes_is_a_data_set_of_any_number_of_images(capsys, tmp_path):
    folder(tmp_path / "pictures", {"a": 9, "b": 8})
    data = f'{{name = "image_folder", root = "{tmp_path}/pictures", size = 8, channels = 1}}'
    got = numbers(capsys, "diagnosed_nets:Net", *SHAPE, "--data", data, "--repairs", "none", "--samples", "2")
    assert "Measured on validation images of image_folder." in got["provisos"]
    splits = isoprune.data.load("image_folder", seed=0, root=tmp_path / "pictures", size=8, channels=1)
    assert len(splits.validation) == 2


@pytest.mark.matrix
def test_saved_network_against_its_dense_one_with_every_repair_tried(capsys, small):
    folder, result = small
    got = numbers(
        capsys, folder, "--dense", "diagnosed_nets:with_inputs", *DIGITS, "--samples", "9", "--repairs", "all"
    )
    names = [network["name"] for network in got["networks"]]
    assert names[:2] == ["dense", "this network"]
    assert {*names[2:], *got["refused"]} == set(every_repair())
    assert "orthp" in names
    for key in ("jsv_mean", "dense_jsv_mean", "orthp_jsv_mean"):
        assert got["numbers"][key] > 0
    assert len(got["restored"]) == len(names) - 2
    # The same by the library, on the same images.
    from isoprune.experiment.seeds import jsv_inputs

    splits = isoprune.data.load("digits", seed=0, size=8, limit=1000)
    inputs = jsv_inputs(splits.validation, 9, seed=0)
    sigma = jacobian_singular_values(result.model.eval(), inputs)
    assert got["numbers"]["jsv_mean"] == pytest.approx(float(sigma.double().mean()), rel=1e-5)


def test_terminal_tells_all_of_it_and_the_page_holds_it(capsys, small):
    folder, _ = small
    out = told(
        capsys, folder, "--dense", "diagnosed_nets:with_inputs", *DIGITS, "--repairs", "orthp,scratch",
        "--out", "new/diagnosis.html",
    )  # fmt: skip
    assert re.search(r"^(Healthy|Damaged|Collapsed): the mean Jacobian singular value is", out, re.M)
    assert re.search(r"^Repair orthp brings the mean to", out, re.M)
    assert "Exact: all 10 singular values of 64 samples." in out
    assert "Measured on validation images of digits." in out
    for row in ("dense", "this network", "orthp", "scratch"):
        assert re.search(rf"^ {row} +[\d.e-]+ ", out, re.M), row
    assert re.search(r"^ head +Linear ", out, re.M)
    assert "Written: new/diagnosis.html" in out
    page = Path("new/diagnosis.html").read_text(encoding="utf-8")
    for sentence in re.findall(r"^(?:Repair orthp|The layers|Filters).*$", out, re.M):
        assert sentence.split(",")[0][:40] in page


def test_repairs_are_chosen_by_name_or_left_out(capsys, small):
    folder, _ = small
    common = (folder, "--build", "diagnosed_nets:with_inputs", *DIGITS, "--samples", "4")
    assert "Repair" not in told(capsys, *common, "--repairs", "none")
    assert len(re.findall(r"^Repair ", told(capsys, *common, "--repairs", "scratch"), re.M)) == 1
    assert "Did you mean 'orthp'" in refused(capsys, *common, "--repairs", "orthop")


def test_many_outputs_are_estimated_and_said_to_be(capsys, monkeypatch):
    monkeypatch.setattr("isoprune.isometry.effort.BUDGET", 1e6)
    words = ("diagnosed_nets:Wide", "--data", "random", "--repairs", "none")
    got = numbers(capsys, *words)
    exact = numbers(capsys, *words, "--exact", "--samples", got["settings"]["samples"])
    assert got["settings"]["singular values"].startswith("estimated")
    assert exact["settings"]["singular values"].startswith("exact")
    off = got["numbers"]["jsv_mean"] - exact["numbers"]["jsv_mean"]
    assert abs(off) <= 1.5 * got["numbers"]["jsv_mean_error"]
    assert got["networks"][0]["histogram"] is None
    assert any(sentence.startswith("Estimated on 1 sample: exactly") for sentence in got["sentences"])
    assert any("random inputs" in proviso for proviso in got["provisos"])


def test_language_models_by_input_and_output(capsys):
    words = ("diagnosed_nets:Words", "--repairs", "none", "--input", "embed", "--output", "scores")
    got = numbers(capsys, *words, "--data", "example")
    head = open_source("diagnosed_nets:Words").model.head.weight.detach()
    # Of a mean over 5 words: every word passes a fifth.
    want = torch.linalg.svdvals(head.repeat(1, 5) / 5).mean()
    assert got["numbers"]["jsv_mean"] == pytest.approx(float(want), rel=1e-5)
    assert numbers(capsys, *words, "--data", "random")["settings"]["samples"] == "64"
    assert "has no derivative" in refused(capsys, *words[:3], "--output", "scores", "--data", "example")


def test_folder_of_images(capsys, tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("L", (10, 9), 80 * i).save(tmp_path / "photos" / f"{i}.png")
    got = numbers(capsys, "diagnosed_nets:Net", *SHAPE, "--data", "photos", "--repairs", "none")
    assert got["settings"]["samples"] == "3"
    assert got["provisos"] == ["Measured on images of photos, cut to 1x8x8 and normalised."]


@pytest.mark.matrix
def test_torchvision_says_that_weights_are_random_and_saved_ones_need_no_build(capsys, tmp_path):
    assert (
        main(["prune", "torchvision:resnet18", "--ratio", "0.5", "--shape", "1,3,32,32", "--out", "small"])
        == 0
    )
    capsys.readouterr()
    common = ("--shape", "1,3,32,32", "--data", "random", "--samples", "1", "--repairs", "none")
    out = told(capsys, "small", "--dense", "torchvision:resnet18", *common)
    assert out.startswith("ResNet (small)\n")
    assert "The weights of torchvision:resnet18 are random (seed 0)." in out
    assert "times the dense network's" in out
    alone = told(capsys, "small", *common)
    assert "are random" not in alone
    assert "times the dense network's" not in alone


def test_a_forecast_is_told_where_it_was_asked_for(capsys, small):
    Path("mine.json").write_bytes(write_fitted(by_hand(intercept=-40.0)))
    common = (small[0], "--dense", "diagnosed_nets:with_inputs", "--repairs", "none", "--samples", "4")
    asked = ("--retrain-samples", "5000", "--fitted", "mine.json")
    assert "orecast" not in told(capsys, *common, *DIGITS)
    assert "Forecast: retrained on 5,000 samples" in told(capsys, *common, *DIGITS, *asked)
    got = numbers(capsys, *common, *DIGITS, *asked)["forecast"]
    low, high = got["intervals"]["80"]
    assert low < got["accuracy"] < high
    told_why = told(capsys, *common, "--data", "random", *asked)
    assert (
        "No forecast: it needs labels, and these are random inputs, which say little about your task."
        in told_why
    )
    assert "--retrain-samples" in refused(capsys, *common, *DIGITS, "--retrain-samples", "0")
