"""Results show themselves in a screen: 24 lines of 120 characters, at the prompt and in a notebook."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoprune
from isoprune.cli import main
from isoprune.comparison.compare import Comparison
from isoprune.comparison.setups import Setup
from isoprune.training.rates import Advice, Probe
from isoprune.types import Member, Plan, Units
from isoprune.types.record import NetworkRecord, Record


def fits(thing: object) -> str:
    text = repr(thing)
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 120
    return text


@pytest.fixture(scope="module")
def deep() -> isoprune.Pruned:
    """Thirty groups of channels: more than a screen has lines."""
    layers = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(31)]
    return isoprune.prune(nn.Sequential(*layers).eval(), torch.zeros(1, 8), ratio=0.5)


def test_a_plan_says_what_goes_and_where_the_rest_is(deep: isoprune.Pruned):
    text = fits(deep.plan)
    assert text.startswith("Plan: 120 of 240 channels go\n  0.0  4 of 8\n")
    assert text.endswith("... and 18 more: plan.removed")
    assert repr(Plan()) == "Plan: 0 of 0 channels go"


def test_a_graph_names_what_can_go_and_what_stays(deep: isoprune.Pruned):
    text = fits(deep.graph)
    assert text.startswith("Graph: 240 channels can go, in 30 groups; 1 tensor keeps all")
    few = replace(deep.graph, groups=deep.graph.groups[:1])
    assert fits(few).endswith("stays: 30.0.weight, 8 channels (the network's output)")


def test_units_name_their_tensors_and_print_no_table_of_elements():
    unit = torch.arange(4096).view(64, 64, 1, 1)
    members = tuple(Member(f"layer{i}.weight", (0,), "out", unit) for i in range(5))
    assert repr(Units("layer0", "channel", (4096,), members)) == (
        "Units(layer0: 4,096 channels of layer0.weight, layer1.weight, layer2.weight and 2 more)"
    )
    assert repr(members[0]) == "Member(layer0.weight, dims=(0,), role='out')"


def test_a_diagnosis_is_its_sentences(deep: isoprune.Pruned):
    found = isoprune.diagnose(deep.model, [(torch.randn(4, 8), torch.zeros(4))])
    assert repr(found) == "\n".join(found.sentences)


def test_advice_shows_the_rate_and_its_probes():
    probes = (Probe(0.1, 20, 0.75, 0.5), Probe(0.3, 20, None, None))
    text = fits(Advice(0.1, (0.1, 0.3), probes, 100, 50, 0.1, 0.1, 0.4))
    assert text == (
        "Advice: lr = 0.1, of 2 rates probed (accuracy)\n"
        "  0.1  0.75 after 20 steps\n  0.3  diverged after 20 steps"
    )


def test_a_record_shows_its_networks_and_not_its_histories():
    row = NetworkRecord(
        role="dense", step=0, digest="d", parameters=1000, nonzero=900, flops=5000,
        metrics={"test_accuracy": 0.5, "test_loss": None}, history=[{"epoch": i} for i in range(999)],
    )  # fmt: skip
    record = Record(digest="abc", name="one", config={}, networks=[row])
    assert fits(record) == (
        "Record abc of one: done\n  dense  900 parameters, 5,000 multiply-adds, test_accuracy 0.5"
    )


def test_a_notebook_shows_the_same_with_its_signs_escaped():
    made = Comparison(("repair",), "jsv", Setup.S3_2, {}, (), (), ())
    assert repr(made) == "Comparison of repair in jsv: 0 differences"
    named = replace(made, value="a<b")
    assert named._repr_html_() == "<pre>Comparison of repair in a&lt;b: 0 differences</pre>"


def test_a_bare_command_is_the_overview(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert bare == capsys.readouterr().out
    assert bare.startswith("usage: isoprune VERB")


def test_the_package_runs_as_a_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["isoprune", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("isoprune", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"isoprune {isoprune.__version__}\n"
