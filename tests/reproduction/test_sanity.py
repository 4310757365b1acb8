"""The sanity battery: equal budgets, honest verdicts, and what was done is not done again."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch
from torch import nn

import isoprune
from isoprune.cli import main
from isoprune.reproduction.sanity import BATTERY, OWN
from isoprune.reproduction.sanity_result import Sanity
from isoprune.types import IsopruneError

X = torch.randn(60, 1, 3, 3, generator=torch.Generator().manual_seed(0))
DATA = [(x, (x.sum((1, 2, 3)) > 0).long()) for x in X.split(20)]


def net(seed=0):
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2)
        )


def call(**more):
    given = {"ratio": 0.5, "criterion": "snip", "batches": DATA, "train": DATA, "validation": DATA}
    given |= {"seeds": (0, 1), "epochs": 1, "lr": 0.1} | more
    return isoprune.sanity(net, X[:2], **given)


def test_each_seed_and_check_has_a_training_of_its_own_and_none_is_repeated(tmp_path):
    said = []
    found = call(where=tmp_path, on_event=said.append)
    assert list(found.values) == [OWN, *BATTERY]
    assert all(sorted(row) == [0, 1] for row in found.values.values())
    assert said == [f"{check}, seed {seed}" for seed in (0, 1) for check in (OWN, *BATTERY)]
    assert [p.name for p in tmp_path.iterdir()] == ["sanity.json"]
    again = call(where=tmp_path, on_event=said.append)
    assert again == found
    assert len(said) == 2 * (1 + len(BATTERY))
    # Another rate is another training; the file has both.
    assert call(where=tmp_path, checks=["mask_shuffle"], lr=0.01, on_event=said.append).lr == 0.01
    assert len(said) == 2 * (1 + len(BATTERY)) + 4
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["checks"][0]["name"] == "mask_shuffle"


@pytest.mark.parametrize(
    "other",
    [
        {"loss": lambda outputs, batch: nn.functional.cross_entropy(outputs, batch[1]) / 2},
        {"metrics": {"squares": lambda outputs, _: outputs.square().mean()}},
        {"batches": [(x + 1, y) for x, y in DATA]},
        {"criterion": lambda _, units, **__: {u.name: torch.ones(u.shape) for u in units}},
        {"validation": [(x + 1, y) for x, y in DATA]},
        {"optimizer": lambda parameters: torch.optim.SGD(parameters, 0.1)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_numbers_of_another_question_are_not_taken(tmp_path, other):
    said, only = [], {"checks": ["random_ticket"], "seeds": (0,)}
    call(where=tmp_path, **only)
    call(where=tmp_path, on_event=said.append, **only, **other)
    assert said == [f"{check}, seed 0" for check in (OWN, "random_ticket")]


def test_a_stopped_battery_goes_on_to_the_same_numbers(tmp_path):
    def stop(line):
        if line == "mask_shuffle, seed 1":
            raise KeyboardInterrupt

    only = {"checks": ["mask_shuffle"], "lr": "auto"}
    with pytest.raises(KeyboardInterrupt):
        call(where=tmp_path, on_event=stop, **only)
    said = []
    assert call(where=tmp_path, on_event=said.append, **only) == call(**only)
    assert said == ["mask_shuffle, seed 1"]


def test_what_does_not_apply_says_why():
    found = call(
        criterion="l1_norm", grain="channel", checks=["smart_ratios", "half_data"], seeds=(0,), epochs=0
    )
    assert found.refused["smart_ratios"].startswith("smart_ratios does not know the grain channel")
    assert found.refused["half_data"] == "l1_norm looks at no data, so there is none to halve."
    assert [s.partition(" ")[0] for s in found.sentences] == ["smart_ratios", "half_data"]


def test_chance_gets_the_repair_that_the_criterion_brings(monkeypatch):
    trained = []
    monkeypatch.setattr(
        sys.modules["isoprune.reproduction.sanity"],
        "_trained",
        lambda small, *_: trained.append(small) or (0.5, 0.1),
    )
    call(criterion="reconstruction", grain="channel", checks=["mask_shuffle", "weight_shuffle"], seeds=(0,))
    steps = [[(e["step"], e.get("method")) for e in small.history] for small in trained]
    assert steps[0] == steps[1] == [("prune", None), ("repair", "refit")]
    assert steps[2][2] == ("repair", "weight_shuffle")


def result(ours, theirs, higher=True):
    values = {OWN: dict(enumerate(ours)), "mask_shuffle": dict(enumerate(theirs))}
    return Sanity("snip", "accuracy" if higher else "loss", higher, 0.1, 0.01, values, {})


@pytest.mark.parametrize(
    ("ours", "theirs", "higher", "verdict", "words"),
    [
        ([0.90, 0.91, 0.92], [0.70, 0.70, 0.72], True, "shown", "Shown: the method is better."),
        ([0.70, 0.70, 0.72], [0.90, 0.91, 0.92], True, "shown", "Shown: the method is worse."),
        ([0.70, 0.70, 0.72], [0.90, 0.91, 0.92], False, "shown", "Shown: the method is better."),
        ([0.800, 0.801, 0.799], [0.801, 0.800, 0.800], True, "level", "Level within 1.00 points."),
        ([0.90, 0.91, 0.92], [0.10, 0.11, 0.1199], True, "shown", "p < 0.001, < 0.001 after Holm's"),
        ([0.9, 0.5, 0.7], [0.5, 0.9, 0.6], True, "open", "Open: these seeds allow both."),
        ([0.9], [0.5], True, "open", "no interval). Open"),
        ([0.9, 0.9], [0.5, 0.5], True, "open", "the same difference in each; no interval). Open"),
        ([None, 0.9], [0.5, None], True, "open", "no pair (every pair has a training that diverged"),
    ],
)
def test_nothing_is_said_that_the_pairs_do_not_show(ours, theirs, higher, verdict, words):
    found = result(ours, theirs, higher)
    assert found.checks[0].verdict == verdict
    assert words in found.sentences[0]
    if "Shown" in words:
        assert (found.checks[0].difference.mean > 0) == ("better" in words)
    assert "0.000" not in found.sentences[0]
    assert math.isnan(found.checks[0].p) or found.checks[0].corrected >= found.checks[0].p


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"checks": ["shuffle"]}, r"Unknown check 'shuffle'"),
        ({"seeds": (1, 1)}, r"seeds is \[1, 1\]\. Give different"),
        ({"margin": -1}, r"margin is -1"),
        ({"epoch": 3}, r"Unknown option 'epoch' of retrain\. Did you mean 'epochs'"),
        ({"train": None}, r"nothing to train on"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_trained(more, message):
    with pytest.raises(IsopruneError, match=message):
        call(**more)


def test_a_pruned_network_is_refused():
    small = isoprune.prune(net(), X[:2], 0.5)
    with pytest.raises(IsopruneError, match="was pruned already"):
        isoprune.sanity(small, ratio=0.5, train=DATA, validation=DATA)


def test_the_command_line_calls_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn, randn\n\n\ndef tiny():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))\n"
        "    return net, randn(2, 1, 8, 8)\n"
    )
    words = [
        "sanity",
        "own_nets:tiny",
        "--data",
        "{name = 'digits', size = 8}",
        "--ratio",
        "0.5",
        "--epochs",
        "1",
        "--lr",
        "0.1",
    ]
    words += [
        "--seeds",
        "2",
        "--checks",
        "mask_shuffle,half_data",
        "--criterion",
        "{name = 'taylor', batches = 2}",
    ]
    assert main([*words, "--out", "sanity.json"]) == 0
    out = capsys.readouterr().out
    assert "taylor against chance at its own ratios (mask_shuffle)" in out
    assert json.loads((tmp_path / "sanity.json").read_text())["checks"][1]["name"] == "half_data"
    assert main([*words, "--optimizer", "adamw", "--out", "other.json"]) == 0
    assert (tmp_path / "other.json").read_text() != (tmp_path / "sanity.json").read_text()
    capsys.readouterr()
    assert main([*words[:-2], "--lr", "fast"]) == 2
    assert "--lr fast is no rate" in capsys.readouterr().err
