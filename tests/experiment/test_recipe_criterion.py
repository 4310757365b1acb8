"""The recipe prunes by `reconstruction` where that fits network and budget; else by L1, and says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import isoprune
from experiment.tiny import CONFIG
from isoprune.experiment import delivery_request, recipe_criterion
from isoprune.experiment.config import experiment
from isoprune.experiment.data_fit import fitting
from isoprune.experiment.delivery_request import Request, TimingRequest, choose, claim
from isoprune.experiment.recipe_criterion import RecipeCriterion, criterion_for
from isoprune.experiment.resolve import resolve
from isoprune.methods.criteria.reconstruction_cost import ReconstructionCost, reconstruction_cost
from isoprune.types import IsopruneError

DATA = '{name = "digits", limit = 150, size = 8}'
SMALL = ("model.width=8", "model.depth=3")


def chosen(**prune: object) -> RecipeCriterion:
    asked = resolve(experiment(CONFIG | {"prune": {"ratio": 0.5, **prune}}))
    return criterion_for(asked, *fitting(asked))


def test_a_small_network_is_pruned_by_reconstruction():
    assert chosen() == RecipeCriterion("reconstruction")


def test_a_grain_that_it_does_not_know_is_pruned_by_l1():
    assert chosen(grain="weight") == RecipeCriterion(
        "l1_norm", "Channels were chosen by l1_norm: reconstruction does not know the grain weight."
    )


@pytest.mark.parametrize(
    ("cost", "because"),
    [
        (
            ReconstructionCost(1e9, 13.0, 0.1, 1e6),
            "would hold up to 13.0 GB of what layers read, more than 12",
        ),
        (ReconstructionCost(1e9, 0.1, 2.5, 1e6), "would hold up to 2.5 GB of what layers make, more than 2"),
        (ReconstructionCost(2e12, 0.1, 0.1, 1e6), "would take 2.0e+12 multiply-adds, more than 1.0e+12"),
    ],
)
def test_what_takes_too_much_is_not_begun(cost, because, monkeypatch):
    monkeypatch.setattr(recipe_criterion, "reconstruction_cost", lambda *_: cost)
    found = chosen()
    assert found.criterion == "l1_norm"
    assert found.because.startswith(f"Channels were chosen by l1_norm: reconstruction {because}")


def test_a_long_retraining_may_be_prepared_for_longer(monkeypatch):
    # Three epochs of some hundred samples: half of what they take is more than the choice.
    cost = ReconstructionCost(2e12, 0.1, 0.1, 1e11)
    monkeypatch.setattr(recipe_criterion, "reconstruction_cost", lambda *_: cost)
    assert chosen() == RecipeCriterion("reconstruction")


def test_a_weight_that_something_computes_is_pruned_by_l1():
    asked = resolve(experiment(CONFIG))
    model, splits = fitting(asked)
    linear = next(m for m in model.modules() if isinstance(m, nn.Linear))
    nn.utils.parametrizations.weight_norm(linear)
    found = criterion_for(asked, model, splits)
    assert found.criterion == "l1_norm"
    assert "reconstruction does not know this network (" in found.because


def test_what_is_counted_is_no_less_than_what_is_done():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    x = torch.randn(64, 1, 8, 8)
    counted = reconstruction_cost(model, x[:1], len(x))
    with FlopCounterMode(display=False) as counter:
        isoprune.prune(model, x[:2], 0.5, criterion="reconstruction", batches=[(x, torch.zeros(64).long())])
    assert counter.get_total_flops() / 2 <= counted.multiply_adds
    conv = 36 * 6 * 9 + 16 * 8 * 54  # outputs of the maps of 6 x 6 and 4 x 4, times what each reads
    assert counted.forward == conv + 1280
    assert counted.moments == pytest.approx(24e-9 * (9**2 + 6**2 + 54**2 + 8**2 + 128**2 + 10**2))


def request(*settings: str, **pruning: str) -> Request:
    return Request("mlp_7", DATA, {"ratio": 0.5}, pruning, 2, 1, settings=(*SMALL, *settings))


def test_the_folder_keeps_what_was_chosen_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    because = "Channels were chosen by l1_norm: it is a test."
    for say in (because, "Channels were chosen by l1_norm: it is another."):
        monkeypatch.setattr(
            delivery_request, "criterion_for", lambda *_, say=say: RecipeCriterion("l1_norm", say)
        )
        found = claim(request(), tmp_path, choose(request(), tmp_path, TimingRequest(), lambda _: None))
        assert found.criterion.because == because
        assert found.experiment.prune.criterion.name == "l1_norm"


@pytest.mark.parametrize("named", ["os:system", "taylor", 3])
def test_a_folder_that_names_another_criterion_is_refused(named: object, tmp_path: Path):
    claim(request(), tmp_path, choose(request(), tmp_path, TimingRequest(), lambda _: None))
    file = tmp_path / "recipe.json"
    facts = {key: value for key, value in json.loads(file.read_text()).items() if key != "checksum"}
    delivery_request.write_json(file, {**facts, "criterion": {"criterion": named}})
    with pytest.raises(IsopruneError, match=r"recipe\.json\.criterion\.criterion is .* Known: l1_norm"):
        choose(request(), tmp_path, TimingRequest(), lambda _: None)


@pytest.mark.parametrize("lost", ["criterion", "request", "config"])
def test_a_recipe_with_a_part_missing_is_refused_with_the_remedy(lost: str, tmp_path: Path):
    claim(request(), tmp_path, choose(request(), tmp_path, TimingRequest(), lambda _: None))
    file = tmp_path / "recipe.json"
    facts = json.loads(file.read_text())
    kept = {key: value for key, value in facts.items() if key not in ("checksum", lost)}
    delivery_request.write_json(file, kept)
    with pytest.raises(IsopruneError, match=rf"recipe\.json\.{lost}'.* Or delete the file"):
        choose(request(), tmp_path, TimingRequest(), lambda _: None)
    assert file.is_file()


@pytest.mark.parametrize("asked", [request(criterion="l2_norm"), request("prune.criterion=l2_norm")])
def test_who_names_a_criterion_is_not_told_of_another(asked: Request, tmp_path: Path):
    found = choose(asked, tmp_path, TimingRequest(), lambda _: None)
    assert found.experiment.prune.criterion.name == "l2_norm"
    assert found.criterion.because == ""
