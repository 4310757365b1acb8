"""Distillation: the formula, its gradient, and what it must leave alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoprune.methods.schedules import constant
from isoprune.training import Distill, Loop
from isoprune.training.distill import distillation_loss, read_distill
from isoprune.types import IsopruneError
from isoprune.verbs.retrain import retrain

from .small import fit, seeded, small_net, small_splits

RECIPE = {"epochs": 2, "lr": 0.05, "schedule": constant(), "batch": 5}


def teacher() -> nn.Module:
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)
    ).double()
    g = seeded(7)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    return net


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_the_formula_and_its_gradient_that_of_the_formula(temperature):
    """d/dz of T² KL(p ‖ q) is T (q - p) / n."""
    g = seeded()
    student, wanted = (3 * torch.randn(5, 4, generator=g, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    p, q = ((z / temperature).softmax(1) for z in (wanted, student))
    formula = temperature**2 * (p * (p.log() - q.log())).sum(1).mean()
    loss = distillation_loss(student, wanted, temperature=temperature)
    torch.testing.assert_close(loss, formula)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, temperature * (q - p).detach() / 5)
    torch.testing.assert_close(gradient, torch.autograd.grad(formula, student)[0])


def test_at_a_high_temperature_it_is_the_squared_distance_of_centred_logits():
    """Hinton et al., 2015, section 2.1: the gradient tends to (z - v) / (N n) if both have mean zero."""
    g = seeded()
    student, wanted = (torch.randn(5, 4, generator=g, dtype=torch.float64) for _ in range(2))
    student, wanted = (z - z.mean(1, keepdim=True) for z in (student, wanted))
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(distillation_loss(student, wanted, temperature=1e4), student)
    torch.testing.assert_close(gradient, (student - wanted).detach() / (4 * 5), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_step_goes_down_the_written_loss(weight):
    splits, net, dense = small_splits(), small_net(), teacher()
    told = Distill(weight, 3.0, dense)
    plain = {"epochs": 1, "batch": 23, "momentum": 0.0, "weight_decay": 0.0}
    got, history = fit(net, splits, **{**RECIPE, **plain}, distill=told, generator=seeded())
    net.train()
    logits = net(splits.train.inputs)
    entropy = cross_entropy(logits, splits.train.targets)
    with torch.no_grad():
        p = (copy.deepcopy(dense).eval()(splits.train.inputs) / 3).softmax(1)
    divergence = 9 * (p * (p.log() - (logits / 3).log_softmax(1))).sum(1).mean()
    loss = (1 - weight) * entropy + weight * divergence
    for own, before, g in zip(
        got.parameters(), net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True
    ):
        torch.testing.assert_close(own, before - RECIPE["lr"] * g)
    assert history[1]["loss"] == pytest.approx(entropy.item(), rel=1e-12)
    assert history[1]["distillation_loss"] == pytest.approx(divergence.item(), rel=1e-12)


def test_without_weight_the_bits_are_those_of_plain_training():
    plain, rows = fit(small_net(), small_splits(), **RECIPE, generator=seeded())
    got, history = fit(
        small_net(),
        small_splits(),
        **RECIPE,
        distill=Distill(0.0, 4.0, teacher()),
        generator=seeded(),
    )
    for key, tensor in plain.state_dict().items():
        assert torch.equal(got.state_dict()[key], tensor)
    for row, other in zip(history, rows, strict=True):
        assert {k: v for k, v in row.items() if k not in ("seconds", "distillation_loss")} == {
            k: v for k, v in other.items() if k != "seconds"
        }
        assert ("distillation_loss" in row) == (row["epoch"] > 0)


def test_the_teacher_is_left_as_it_is():
    dense = teacher().train()
    dense[2].eval()
    before = copy.deepcopy(dense.state_dict())
    fit(small_net(), small_splits(), **RECIPE, distill=Distill(0.5, 2.0, dense), generator=seeded())
    assert all(torch.equal(dense.state_dict()[k], v) for k, v in before.items())
    assert all(p.grad is None and p.requires_grad for p in dense.parameters())
    assert [m.training for m in dense] == [True, True, False, True, True]


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double()
    got, history = fit(
        net,
        small_splits(),
        **{**RECIPE, "weight_decay": 0.0},
        distill=Distill(1.0, 2.0, net),
        generator=seeded(),
    )
    assert history[-1]["distillation_loss"] == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(got[1].weight, net[1].weight)


def test_pieces_of_a_batch_distil_like_the_whole():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double()
    told = {"distill": Distill(0.6, 2.0, teacher())}
    whole, rows = fit(net, small_splits(), **RECIPE, **told, generator=seeded())
    parts, history = fit(net, small_splits(), **RECIPE, **told, loop=Loop(accumulate=2), generator=seeded())
    torch.testing.assert_close(parts[1].weight, whole[1].weight)
    assert history[-1]["distillation_loss"] == pytest.approx(rows[-1]["distillation_loss"], rel=1e-12)


def test_retrain_takes_the_dense_network_and_a_table():
    told = {"lr": 0.05, "epochs": 2, "batch": 5, "schedule": constant(), "dense": teacher()}
    a = retrain(small_net(), small_splits(), **told, distill={"weight": 0.9, "temperature": 4.0}).model
    b, _ = fit(
        small_net(),
        small_splits(),
        **RECIPE,
        distill=Distill(0.9, 4.0, teacher()),
        generator=seeded(),
    )
    assert torch.equal(a[1].weight, b[1].weight)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"weight": 0.5}, "distill has weight; it needs weight and temperature"),
        ({}, "distill has no key"),
        ({"weight": 0.5, "temperature": 1.0, "alpha": 1.0}, "takes nothing else"),
        ({"weight": 1.5, "temperature": 1.0}, r"distill\.weight is 1\.5, outside \[0, 1\]"),
        ({"weight": "0.5", "temperature": 1.0}, r"distill\.weight is '0\.5', outside"),
        ({"weight": 0.5, "temperature": math.inf}, r"distill\.temperature is inf, outside \(0, inf\)"),
        (Distill(0.5, 0.0, nn.Identity()), r"distill\.temperature is 0\.0, outside \(0, inf\)"),
    ],
)
def test_a_distillation_that_means_nothing_is_refused(given, why):
    with pytest.raises(IsopruneError, match=why):
        read_distill(given, nn.Identity())


def test_a_distillation_without_a_network_to_learn_from_is_refused():
    with pytest.raises(IsopruneError, match="There is distill and no network to learn from"):
        retrain(small_net(), small_splits(), lr=0.1, distill={"weight": 0.5, "temperature": 1.0})


@pytest.mark.parametrize(
    ("taught", "why"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(6, 5)),
            r"outputs of \(5,\) and the one that learns of \(3,\)",
        ),
        (nn.Flatten(0), r"'classification' has outputs of \(6,\)\. Leave distill out"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(6, 3)), "has outputs of a tuple"),
    ],
)
def test_outputs_that_are_not_the_same_logits_are_refused(taught, why):
    distill = Distill(0.5, 1.0, taught.double())
    with pytest.raises(IsopruneError, match=why):
        fit(small_net(), small_splits(), **RECIPE, distill=distill, generator=seeded())


def test_logits_of_pixels_are_distilled_as_samples():
    g = seeded()
    student, wanted = (torch.randn(2, 3, 4, 5, generator=g, dtype=torch.float64) for _ in range(2))
    flat = [z.permute(0, 2, 3, 1).reshape(-1, 3) for z in (student, wanted)]
    torch.testing.assert_close(
        distillation_loss(student, wanted, temperature=2.0), distillation_loss(*flat, temperature=2.0)
    )
