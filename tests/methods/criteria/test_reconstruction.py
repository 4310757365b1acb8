"""A choice that is made for its refit: what it keeps, on which networks, and what follows it."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import CRITERIA
from isoprune.signals import Signals
from isoprune.types import IsopruneError

SAMPLES = 64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perceptron(*widths, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1]).double().eval()


def doubled():
    """Return a perceptron of which half of the hidden units are others' doubles, with longer filters."""
    model = perceptron(6, 8, 10, 4)
    with torch.no_grad():
        for here, after in ((model[0], model[2]), (model[2], model[4])):
            half = here.out_features // 2
            here.weight[half:] = 3 * here.weight[:half]
            here.bias[half:] = 3 * here.bias[:half]
            after.weight[:, ::2] *= 2
    return model


def off(small, model, x):
    with torch.no_grad():
        return float((small.model(x) - model(x)).norm() / model(x).norm())


def test_units_that_are_others_doubles_go_and_nothing_is_lost():
    model, x = doubled(), drawn(SAMPLES, 6)
    small = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)])
    assert [small.model[i].out_features for i in (0, 2)] == [4, 5]
    for name, half in (("0", 4), ("2", 5)):
        kept = small.plan.kept[name].nonzero().flatten() % half
        assert sorted(kept.tolist()) == list(range(half))
    assert off(small, model, drawn(50, 6, seed=1)) < 1e-3
    assert isoprune.verify(small)


def test_it_is_chosen_and_refit_and_the_history_says_so():
    model, x = perceptron(6, 12, 10, 4), drawn(SAMPLES, 6)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    small = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)])
    assert [entry["step"] for entry in small.history] == ["prune", "repair"]
    assert small.history[1]["method"] == "refit"
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    plain = isoprune.repair(isoprune.prune(model, x, 0.5), "refit", batches=[(x, None)])
    assert off(small, model, x) < off(plain, model, x)


def test_data_that_can_be_gone_through_once_is_enough():
    model, x = perceptron(6, 12, 4), drawn(SAMPLES, 6)
    one = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)])
    two = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=iter([(x, None)]))
    assert one.plan == two.plan
    torch.testing.assert_close(one.model(x), two.model(x))


def test_without_data_it_is_refused():
    model, x = perceptron(6, 12, 4), drawn(SAMPLES, 6)
    with pytest.raises(IsopruneError, match="'reconstruction' looks at data, and batches is empty"):
        isoprune.prune(model, x, 0.5, criterion="reconstruction")


@pytest.mark.parametrize(
    "net",
    [
        "residual",
        "flattened",
        *(pytest.param(net, marks=pytest.mark.matrix) for net in ("grouped", "depthwise_twice", "bare")),
    ],
)
def test_networks_of_every_kind_are_pruned_and_proven(net):
    model, x = network(net)
    more = [(torch.cat([x, x + 0.3 * drawn(*x.shape, seed=s)]), None) for s in range(8)]
    small = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=more)
    assert small.costs.ratios["parameters"] > 0
    assert isoprune.verify(small)
    plain = isoprune.prune(model, x, 0.5)
    numbers = [{k: int(m.sum()) for k, m in p.plan.kept.items()} for p in (small, plain)]
    assert numbers[0] == numbers[1]
    inputs = more[0][0]
    assert off(small, model, inputs) < off(plain, model, inputs)


@pytest.mark.parametrize(
    ("net", "grain"), [("multihead", "channel"), ("heads", "channel"), ("heads", "head")]
)
def test_attentions_lose_channels_and_heads(net, grain):
    model, x = network(net)
    small = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)], grain=grain)
    assert small.costs.ratios["parameters"] > 0
    assert isoprune.verify(small)


@pytest.mark.parametrize("budget", [{"flops": 0.5}, {"parameters": 0.5}])
def test_budgets_are_kept(budget):
    model, x = perceptron(6, 24, 20, 4), drawn(SAMPLES, 6)
    small = isoprune.prune(model, x, criterion="reconstruction", batches=[(x, None)], **budget)
    assert 0.5 <= small.costs.ratios[next(iter(budget))] < 0.6


def test_masked_channels_are_refit_too():
    model, x = perceptron(6, 12, 10, 4), drawn(SAMPLES, 6)
    held = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)], mask=True)
    small = isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)])
    assert held.plan == small.plan
    torch.testing.assert_close(off(held, model, x), off(small, model, x), rtol=0.02, atol=0)


def test_a_second_round_goes_on_from_the_first():
    model, x = perceptron(6, 16, 12, 4), drawn(SAMPLES, 6)
    once = isoprune.prune(model, x, 0.25, criterion="reconstruction", batches=[(x, None)])
    twice = isoprune.prune(once, ratio=0.25, criterion="reconstruction", batches=[(x, None)])
    assert twice.dense is model
    assert [twice.model[i].out_features for i in (0, 2)] == [9, 6]
    assert [entry["step"] for entry in twice.history] == ["prune", "repair"] * 2


@pytest.mark.parametrize("criterion", ["reconstruction", "osscar"])
def test_what_no_layer_can_be_refit_for_is_scored_by_its_weights(criterion, caplog):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, 8)
            self.memory = nn.GRU(8, 4, batch_first=True)

        def forward(self, x):
            return self.memory(self.first(x))[0]

    model, x = Recurrent().double().eval(), drawn(3, 6, 5)
    units = [g for g in trace(model, x).groups if g.name == "first"]
    caplog.set_level(logging.INFO)
    generator = torch.Generator()
    task = isoprune.Task(inputs=lambda batch: batch, loss=lambda outputs, _: outputs.square().mean())
    found = CRITERIA[criterion](Signals(model, [x], task), units, generator=generator)
    want = CRITERIA["l2_norm"](Signals(model), units, generator=generator)
    assert all(torch.equal(found[k], want[k]) for k in want)
    assert units
    assert "first: no layer that can be refit reads it" in caplog.text


def test_an_error_counts_by_what_it_does_to_the_outputs():
    """Two halves of one layer are alike but for the layer behind, which reads the outputs of one alone."""
    model, x = perceptron(6, 8, 8, 4), drawn(SAMPLES, 6)
    with torch.no_grad():
        model[2].weight[:4, 4:] = 0
        model[2].weight[4:, :4] = 0
        model[4].weight[:, 4:] *= 1e-3  # so what the second half makes hardly counts
    small = isoprune.prune(model, x, {"0": 0.5}, criterion="reconstruction", batches=[(x, None)])
    assert small.plan.kept["0"].nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_layers_compete_by_error_for_the_parameters():
    """The second layer is full of doubles, the first has none: the second loses more, and less is lost."""
    model, x = perceptron(6, 16, 16, 4), drawn(SAMPLES, 6)
    with torch.no_grad():
        model[2].weight[4:] = model[2].weight[:4].repeat(3, 1)
        model[2].bias[4:] = model[2].bias[:4].repeat(3)
    how = {"parameters": 0.6, "criterion": "reconstruction", "batches": [(x, None)]}
    alike, by_error = (isoprune.prune(model, x, allocation=a, **how) for a in ("uniform", "error"))
    lost = {name: int((~kept).sum()) for name, kept in by_error.plan.kept.items()}
    assert lost["2"] > lost.get("0", 0)
    assert by_error.costs.ratios["parameters"] >= 0.4
    assert off(by_error, model, x) < off(alike, model, x)


def test_scores_without_numbers_are_rises_of_one_error_in_the_order_of_going():
    model, x = perceptron(6, 10, 4), drawn(SAMPLES, 6)
    units = trace(model, x).groups
    signals = Signals(model, [(x, None)])
    rises = CRITERIA["reconstruction"](signals, units, generator=torch.Generator())["0"]
    assert (rises >= 0).all()
    for keep in (3, 7):  # without swaps the choices are nested
        how = {"generator": torch.Generator(), "keep": {"0": keep}, "swaps": 0}
        ranks = CRITERIA["reconstruction"](signals, units, **how)["0"]
        assert set(ranks.argsort()[10 - keep :].tolist()) == set(rises.argsort()[10 - keep :].tolist())


def test_a_cross_entropy_is_one_however_it_is_named():
    model, x = perceptron(6, 30, 20, 4), drawn(SAMPLES, 6)
    losses = (None, nn.CrossEntropyLoss(), nn.functional.cross_entropy, nn.MSELoss())
    plans = [
        isoprune.prune(model, x, 0.5, criterion="reconstruction", batches=[(x, None)], loss=loss).plan.kept
        for loss in losses
    ]
    same = [all(torch.equal(plan[name], plans[0][name]) for name in plan) for plan in plans]
    assert same == [True, True, True, False]
