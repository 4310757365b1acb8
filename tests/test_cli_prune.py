"""`isoprune prune`: what it prints is what was done, and what it saves loads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from isoprune.export import load
from pruned_by_command import NET, SHAPE, own_networks, ran, refused


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    with own_networks(tmp_path, monkeypatch):
        yield


def build():
    return sys.modules["own_cli_nets"].Net()


def test_channels_that_are_zero_already_go_without_a_ratio(capsys, tmp_path):
    words = ["prune", "own_cli_nets:with_zeros", *SHAPE, "--criterion", "zeros"]
    assert "small" in ran(capsys, *words, "--out", "small")
    assert load(tmp_path / "small", build=build).a.out_channels == 25
    assert "give no ratio" in refused(capsys, *words, "--ratio", "0.5", "--out", "other")
    assert "Leave out --data" in refused(capsys, *words, "--data", "digits", "--out", "other")


@pytest.mark.parametrize(
    ("words", "units", "whole"),
    [
        (["--ratio", "0.5", "--grain", "weight"], "weights", False),
        (["--grain", "2:4"], "weights (2:4)", False),
        (["--ratio", "0.5", "--mask"], "channels", True),
    ],
)
def test_zeros_that_masks_hold_are_counted_and_said_to_save_no_time(capsys, tmp_path, words, units, whole):
    torch.manual_seed(0)
    said = " ".join(ran(capsys, *NET, *words).split())
    facts = json.loads((tmp_path / "Net-pruned" / "plan.json").read_text())["costs"]
    zeros = sum(int((p == 0).sum()) for p in load("Net-pruned", build=build).parameters())
    size, went = (sum(unit[i] for unit in facts["units"]) for i in (1, 2))
    assert f"{went:,} of {size:,} {units} held at zero by masks, which save a dense kernel no time" in said
    assert ("without --mask they are cut out" in said) == whole
    assert f"those {units} zeroed does, to the last bit" in said
    parameters, flops = facts["dense"]["parameters"], facts["dense"]["flops"]
    assert f"parameters {parameters:,} {parameters - zeros:,} {zeros / parameters:.1%}" in said
    assert f"multiply-adds {flops:,} {flops:,} 0.0%" in said
    assert ("Stays (the network's output)" in said) == whole


def test_what_is_printed_is_what_was_saved(capsys, tmp_path):
    torch.manual_seed(0)
    said = ran(capsys, *NET, "--ratio", "0.5")
    facts = json.loads((tmp_path / "Net-pruned" / "plan.json").read_text())
    real = facts["costs"]
    assert "32 of 64 channels removed." in said
    for name in ("parameters", "flops"):
        for stage in ("dense", "pruned"):
            assert f"{real[stage][name]:,}" in said
    assert f"{real['ratios']['parameters']:.1%}" in said
    assert f"{real['ratios']['flops']:.1%}" in said
    assert "Proof: the pruned network differs from the dense one" in said
    assert "Stays (the network's output): head.weight (5 channels)" in said
    assert 'isoprune.load("Net-pruned", build=lambda: own_cli_nets.Net())' in said
    small = load("Net-pruned", build=build)
    assert sum(p.numel() for p in small.parameters()) == real["pruned"]["parameters"]
    assert facts["source"] == "own_cli_nets:Net"
    assert "random" not in said


@pytest.mark.parametrize("target", ["flops", "parameters"])
def test_targets_are_the_share_that_stays(capsys, tmp_path, target):
    said = ran(capsys, *NET, f"--{target}", "0.5", "--out", "small")
    real = json.loads((tmp_path / "small" / "plan.json").read_text())["costs"]
    assert 0.4 < real["pruned"][target] / real["dense"][target] <= 0.5
    assert f"{real['ratios'][target]:.1%}" in said


def test_patterns_win_over_the_ratio_of_all_others(capsys):
    ran(capsys, *NET, "--ratio", "0.5", "--only", "b=0.25", "--out", "small")
    small = load("small", build=build)
    assert (small.a.out_channels, small.b.out_channels) == (16, 24)
    ran(capsys, *NET, "--only", "b=0.25", "--out", "small")
    small = load("small", build=build)
    assert (small.a.out_channels, small.b.out_channels) == (32, 24)


def test_rounding_seed_and_criterion_reach_the_plan(capsys):
    ran(capsys, *NET, "--ratio", "0.3", "--round-to", "8", "--criterion", "random", "--out", "small")
    small = load("small", build=build)
    assert small.a.out_channels % 8 == small.b.out_channels % 8 == 0
    facts = json.loads(Path("small/plan.json").read_text())
    assert facts["plan"]["request"]["round_to"] == 8


def test_a_floor_and_a_cap_reach_the_plan(capsys):
    ran(capsys, *NET, "--ratio", "0.9", "--floor", "12", "--out", "small")
    small = load("small", build=build)
    assert (small.a.out_channels, small.b.out_channels) == (12, 12)
    ran(capsys, *NET, "--ratio", "0.25", "--allocation", "global", "--cap", "0.25", "--out", "small")
    small = load("small", build=build)
    assert (small.a.out_channels, small.b.out_channels) == (24, 24)


def test_units_of_other_grains_are_held_at_zero(capsys):
    said = ran(capsys, *NET, "--ratio", "0.9", "--grain", "weight", "--out", "small")
    weight = load("small", build=build).b.weight
    assert abs(int((weight == 0).sum()) - 0.9 * weight.numel()) < 1
    costs = json.loads(Path("small/plan.json").read_text())["costs"]
    assert f"{costs['pruned']['nonzero']:,}" in said
    ran(capsys, *NET, "--ratio", "0.5", "--mask", "--out", "small")
    small = load("small", build=build)
    assert small.b.out_channels == 32
    assert int((small.b.weight == 0).all(3).all(2).all(1).sum()) == 16


def test_widths_that_hardware_likes_less_are_told(capsys):
    said = ran(capsys, *NET, "--ratio", "0.4", "--out", "small")
    assert "2 layers whose width is not a multiple of 8 (a 19, b 19)" in said
    assert "round_to=8" in said
    assert "multiple of 8" not in ran(capsys, *NET, "--ratio", "0.4", "--round-to", "8", "--out", "small")


def test_weights_of_ones_own_are_what_is_pruned(capsys):
    import own_cli_nets  # pyright: ignore[reportMissingImports]

    trained = own_cli_nets.Net()
    save_file(trained.state_dict(), "trained.safetensors")
    ran(capsys, *NET, "--only", "b=0.25", "--weights", "trained.safetensors", "--out", "small")
    assert torch.equal(load("small", build=build).a.weight, trained.a.weight)


def test_saving_again_replaces_and_onnx_lies_beside(capsys, tmp_path):
    said = ran(capsys, *NET, "--ratio", "0.5", "--out", "small", "--onnx")
    assert re.search(
        r"ONNX: small/model.onnx \(.* MB, any batch size\); onnxruntime differs from torch by", said
    )
    assert (tmp_path / "small" / "model.onnx").exists()
    ran(capsys, *NET, "--ratio", "0.25", "--out", "small")
    assert sorted(p.name for p in (tmp_path / "small").iterdir()) == ["model.safetensors", "plan.json"]


@pytest.mark.matrix
def test_latency_is_measured_and_reported(capsys):
    words = [
        "prune",
        "own_cli_nets:Net",
        "--shape",
        "1,3,64,64",
        "--latency",
        "0.6",
        "--latency-report",
        "eager",
    ]
    said = ran(capsys, *words, "--out", "small")
    asked = re.search(
        r"requested 60% of the dense network's time, measured ([\d.]+)% on onnxruntime \(1 thread\) at ratio",
        said,
    )
    assert asked is not None
    assert float(asked[1]) <= 60
    told = json.loads(Path("small/plan.json").read_text())["costs"]["latency"]
    assert f"{told['share']:.1%}" == f"{asked[1]}%"
    assert re.search(r"pruned\s+eager\s+[\d.]+\s+[\d.]+ to [\d.]+\s+[\d.]+\s+[\d.]+", said)
    assert "times fewer multiply-adds than dense" in said


def test_help_teaches_and_does_not_wait_for_torch(tmp_path):
    code = (
        "import sys; from isoprune.cli import main; main(['prune', '-h']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("torchvision:resnet50 --ratio 0.5", "my_package.nets:make_model", "--only", "--latency"):
        assert word in done.stdout


@pytest.mark.matrix
@pytest.mark.parametrize(
    "source", ["torchvision:resnet18", "timm:test_vit", "transformers:bert,num_hidden_layers=1"]
)
def test_networks_of_the_libraries(capsys, source):
    said = ran(capsys, "prune", source, "--ratio", "0.5", "--out", "small", "--onnx")
    assert "The weights are random (seed 0). Give trained ones: --weights FILE." in said
    assert "any batch size" in said
