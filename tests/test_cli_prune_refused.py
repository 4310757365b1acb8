"""`isoprune prune` refuses what it cannot do in one line, before any work, and writes nothing."""

from __future__ import annotations

import sys

import pytest

from pruned_by_command import NET, SHAPE, own_networks, refused


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    with own_networks(tmp_path, monkeypatch):
        yield


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (NET, "Say how much is to go: --ratio 0.5"),
        ([*NET, "--ratio", "0.5", "--flops", "0.5"], "--ratio and --flops do not go together"),
        ([*NET, "--flops", "0.5", "--only", "a=0.5"], "--flops and --only do not go together"),
        ([*NET, "--only", "a"], "--only a is no PATTERN=RATIO"),
        ([*NET, "--only", "=0.5"], "--only =0.5 is no PATTERN=RATIO"),
        ([*NET, "--only", "a=half"], "--only a=half is no PATTERN=RATIO"),
        ([*NET, "--only", "c*=0.5"], 'The pattern "c*" matches no group'),
        ([*NET, "--ratio", "1"], "prune.ratio is 1, outside [0, 1)"),
        ([*NET, "--ratio", "-0.1"], "prune.ratio is -0.1, outside [0, 1)"),
        ([*NET, "--ratio", "nan"], "prune.ratio is nan, outside [0, 1)"),
        ([*NET, "--ratio", "half"], 'unable to convert "half" into float'),
        ([*NET, "--ratio", "0.5", "--floor", "0"], "prune.floor is 0, but must be at least 1"),
        (
            [*NET, "--ratio", "0.5", "--allocation", "global", "--cap", "1"],
            "prune.cap is 1, outside [0, 1)",
        ),
        ([*NET, "--latency", "0.5", "--latency-backend", "egaer"], "Did you mean 'eager'?"),
        ([*NET, "--flops", "1.5"], "flops"),
        ([*NET, "--latency", "1.5"], "The latency target is 1.5"),
        ([*NET, "--ratio", "0.5", "--criterion", "l1norm"], "Did you mean 'l1_norm'"),
        ([*NET, "--ratio", "0.5", "--scope", "al"], "prune.scope is 'al' (str). Did you mean 'all'?"),
        (
            [*NET, "--ratio", "0.5", "--allocation", "gobal"],
            "prune.allocation is 'gobal' (str). Did you mean 'global'?",
        ),
        ([*NET, "--ratio", "0.5", "--round-to", "0"], "round_to is 0"),
        ([*NET, "--ratio", "0.5", "--latency-report", "onxruntime"], "Did you mean 'onnxruntime'?"),
        ([*NET, "--latency", "0.5", "--threads", "0"], "0 threads cannot run a network"),
        ([*NET, "--ratio", "0.5", "--weights", "nowhere.pth"], "No nowhere.pth"),
        (["prune", "own_cli_nets:Net", "--ratio", "0.5"], "Give --shape 1,3,224,224"),
        (
            ["prune", "own_cli_nets:Net", "--ratio", "0.5", "--shape", "3,a"],
            "--shape 3,a is no list of sizes",
        ),
        (
            ["prune", "own_cli_nets:Net", "--ratio", "0.5", "--shape", "1,3,0"],
            "--shape 1,3,0 is no list of sizes",
        ),
        (
            ["prune", "own_cli_nets:Net", "--ratio", "0.5", "--shape", "2,7,8,8"],
            "does not run on these example_inputs: RuntimeError",
        ),
        (["prune", "own_cli_nets:Nothing", "--ratio", "0.5", *SHAPE], "Nothing was removed"),
        (["prune", "resnet18", "--ratio", "0.5"], "Did you mean torchvision:resnet18?"),
        ([*NET, "--ratio", "0.5", "--out", "own_cli_nets.py"], "own_cli_nets.py is a file. Give a directory"),
        ([*NET, "--ratio", "0.5", "--out", "."], "which isoprune did not write"),
        ([*NET, "--rato", "0.5"], "Unknown option: --rato"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(capsys, tmp_path, words, problem):
    before = sorted(tmp_path.rglob("*.json"))
    assert problem in refused(capsys, *words)
    assert sorted(tmp_path.rglob("*.json")) == before


def test_a_missing_extra_is_told_before_the_work(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'isoprune[export]'" in refused(capsys, *NET, "--ratio", "0.5", "--onnx")
    assert not (tmp_path / "Net-pruned").exists()


def test_what_needs_data_is_refused_before_a_network_is_built(capsys):
    said = refused(capsys, "prune", "own_cli_nets:not_there", "--ratio", "0.5", "--criterion", "snip")
    assert (
        "Criterion 'snip' looks at data. Give training data: --data NAME_OR_FOLDER, with --epochs 0" in said
    )
    assert "lenet_5 is made for a data set. Give one: --data" in refused(
        capsys, "prune", "lenet_5", "--ratio", "0.5"
    )
