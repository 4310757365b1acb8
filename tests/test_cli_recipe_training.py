"""What `isoprune prune MODEL --data DATA` does by itself: criterion, repair, optimizer and rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from safetensors.torch import load_file

import isoprune
from experiment.tiny import one_thread
from isoprune.experiment.config import experiment
from isoprune.experiment.named_network import open_network
from isoprune.experiment.pipeline import splits_of
from isoprune.experiment.steps import train
from isoprune.verbs.advise import ADAPTIVE_RATES
from recipes import (
    COMMAND,
    MLP,
    dense,
    network,
    own_networks,
    record,
    refused,
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


@pytest.mark.matrix
def test_the_recipe_is_what_it_says(capsys):
    told(capsys, *COMMAND, "--seed", "3", "--criterion", "l2_norm", "--floor", "3")
    config = record()["config"]
    assert config["seed"] == 3
    assert (config["prune"]["ratio"], config["prune"]["floor"]) == (0.5, 3)
    assert config["prune"]["criterion"]["name"] == "l2_norm"
    for part, epochs in (("dense", 2), ("retrain", 3)):
        training = config[part]
        assert (training["epochs"], training["lr"], training["batch"]) == (epochs, "auto", 64)
        assert training["schedule"]["name"] == "one_cycle"
    assert config["retrain"]["distill"] == {"weight": 0.5, "temperature": 4.0}
    assert config["dense"]["distill"] is None
    assert config["retrain"]["average"] == 0.2
    assert config["repair"]["name"] == "none"  # three epochs find by themselves what a repair restores


def test_adamw_trains_at_the_middle_one_of_its_rates(capsys):
    said = told(capsys, *COMMAND, "--optimizer", "adamw")
    made, config = record(), record()["config"]
    assert [config[part]["optimizer"] for part in ("dense", "retrain")] == ["adamw", "adamw"]
    assert network(made, "retrained")["advice"]["lr"] == median(ADAPTIVE_RATES)
    assert {probe["lr"] for probe in network(made, "dense")["advice"]["probes"]} <= {*ADAPTIVE_RATES}
    assert "Learning rate of AdamW: 0.001, without a probe" in said
    line = refused(capsys, *COMMAND)
    assert 'retrain.optimizer is "adamw" there and "sgd" here' in line or "dense.optimizer" in line


@pytest.mark.matrix
def test_channels_are_chosen_by_reconstruction_where_it_fits(capsys):
    said = told(capsys, *COMMAND)
    assert record()["config"]["prune"]["criterion"]["name"] == "reconstruction"
    assert "chosen by l1_norm" not in said


@pytest.mark.matrix
def test_where_it_does_not_fit_the_summary_says_so_and_says_it_again(capsys):
    said = told(capsys, *MLP, "--grain", "weight", "--ratio", "0.5", "--epochs", "1")
    line = "Channels were chosen by l1_norm: reconstruction does not know the grain weight."
    assert line in said.splitlines()
    assert record()["config"]["prune"]["criterion"]["name"] == "l1_norm"
    assert told(capsys, *MLP, "--grain", "weight", "--ratio", "0.5", "--epochs", "1") == said


@pytest.mark.matrix
@pytest.mark.parametrize(("criterion", "repair"), [("l1_norm", "auto"), ("reconstruction", "none")])
def test_a_short_budget_is_repaired_where_the_criterion_has_no_repair_of_its_own(criterion, repair, capsys):
    told(capsys, *MLP, "--ratio", "0.5", "--epochs", "1", "--criterion", criterion)
    config = record()["config"]
    assert config["repair"]["name"] == repair
    assert (config["retrain"].get("probe_share") is None) == (criterion == "l1_norm")


@pytest.mark.matrix
def test_rates_that_were_given_up_are_told(capsys, monkeypatch):
    real = train.at_advised_rate

    def given_up(*args: Any, **kwargs: Any) -> Any:
        trained, more = real(*args, **kwargs)
        return trained, {"advice": {**more["advice"], "given_up": [0.3, 0.1]}}

    monkeypatch.setattr(train, "at_advised_rate", given_up)
    said = told(capsys, *COMMAND)
    assert re.search(
        r"without a probe; 0\.3 was tried and given up; 0\.1 was tried and given up\.$", said, re.M
    )


@pytest.mark.parametrize(
    ("more", "repaired"), [((), False), (("--criterion", "snip"), True), (("--criterion", "l1_norm"), True)]
)
def test_without_epochs_the_network_is_refit_and_nothing_is_trained(capsys, more, repaired):
    said = told(capsys, *MLP, "--ratio", "0.5", "--epochs", "0", *more)
    one = record()
    assert [n["role"] for n in one["networks"]] == ["dense", "pruned", "repaired"]
    assert all("history" not in n or not n["history"] for n in one["networks"][1:])
    last = network(one, "repaired")
    stored = isoprune.load("o/network", build=dense)
    assert sum(p.numel() for p in stored.parameters()) == last["parameters"]
    weights = [network(one, role)["digest"] for role in ("pruned", "repaired")]
    before, after = (load_file(f"o/runs/networks/{digest}/model.safetensors") for digest in weights)
    assert same(before, after) != repaired
    read, train = re.search(r"Not retrained: ([\d,]+) of ([\d,]+) training images", said).groups()
    assert 0 < int(read.replace(",", "")) <= int(train.replace(",", ""))
    assert int(train.replace(",", "")) == len(splits_of(experiment(one["config"])).train)
    assert same(open_network("o").model.state_dict(), tensors())
