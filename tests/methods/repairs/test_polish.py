"""Polish: its loss and gradient, that it never ends worse, its budget, and what it leaves as it was."""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace

import pytest
import torch
from polished import call, kl, labelled, small
from repair_networks import data, inputs, masked, mlp, seeded
from torch import nn

import isoprune
from isoprune.methods.repairs.polish import _kl, _squares
from isoprune.pruning.pruned import as_pruned
from isoprune.types import IsopruneError, Task


def test_the_gradient_of_kl_is_the_difference_of_the_probabilities():
    student, teacher = inputs(5, 3).requires_grad_(), inputs(5, 3, seed=2)
    _kl((student, teacher), None).backward()
    torch.testing.assert_close(student.grad, (student.softmax(1) - teacher.softmax(1)).detach() / 5)


def test_the_gradient_of_squares_is_the_residual_over_the_variance_of_each_tensor():
    made = {"box": inputs(5, 2).requires_grad_(), "score": inputs(5, seed=2).requires_grad_()}
    wanted = {"box": inputs(5, 2, seed=3), "score": inputs(5, seed=4)}
    _squares((made, wanted), None, scales=[4.0, 0.5]).backward()
    for key, scale in (("box", 4.0), ("score", 0.5)):
        residual = 2 * (made[key].detach() - wanted[key]) / made[key].numel() / scale / 2
        torch.testing.assert_close(made[key].grad, residual)


def test_a_network_that_is_the_dense_one_stays():
    x = inputs(40, 6)
    result = small(x)
    whole = as_pruned(result.dense, x[:2])
    made = call(whole, labelled(x))
    assert made.trained == 0
    assert all(
        torch.equal(a, b) for a, b in zip(made.model.parameters(), result.dense.parameters(), strict=True)
    )


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 30.0])
def test_it_never_ends_worse_on_its_held_out_part_than_it_began(lr):
    x = inputs(96, 6)
    result = small(x)
    made = call(result, labelled(x), train_samples=2000, batch=16, lr=lr)
    held = x[::8]
    assert kl(made.model, result.dense, held) <= kl(result.model, result.dense, held)
    if lr < 1:
        assert kl(made.model, result.dense, held) < 0.5 * kl(result.model, result.dense, held)


def test_a_rate_that_is_too_large_is_lowered_until_it_gains():
    x = inputs(96, 6)
    result = small(x)
    made = call(result, labelled(x), batch=16, lr=3.0)
    assert kl(made.model, result.dense, x[::8]) < 0.9 * kl(result.model, result.dense, x[::8])


def test_the_rate_goes_with_the_root_of_the_distance_and_is_lowered_twice(monkeypatch):
    home, rates = importlib.import_module("isoprune.methods.repairs.polish"), []

    def noted(_pair, _data, training, **_):
        rates.append(training.lr)
        raise home._Enough

    monkeypatch.setattr(home, "fit", noted)
    x = inputs(96, 6)
    result = small(x)
    call(result, labelled(x), batch=16)
    first = 1.2e-3 * kl(result.model, result.dense, x[::8]) ** 0.5
    assert rates == pytest.approx([first, first / 4, 0.06 * first])


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.first(x)).relu()).mean((2, 3)))


def test_batchnorm_follows_and_dropout_drops_nothing():
    x = inputs(64, 2, 6, 6)
    net = seeded(Norms)
    net.norm.momentum = None
    net.train()(x)
    net.eval().head.weight.data *= 20
    result = isoprune.prune(net, x[:2], 0.5)
    modes = [m.training for m in result.model.modules()]
    made = call(result, labelled(x), batch=16).model
    assert all(torch.isfinite(buffer).all() for buffer in made.buffers())
    assert not torch.equal(made.norm.running_mean, result.model.norm.running_mean)
    assert [m.training for m in made.modules()] == modes
    result.model.drop.p = 0.0
    without = call(result, labelled(x), batch=16).model
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), without.parameters(), strict=True))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.Identity])
def test_steps_read_patches_under_batchnorm_and_else_blends(norm):
    """Of images of zeros and images of ones: a patch holds nothing else, a blend what lies between."""
    steps = []

    class Noting(nn.Module):
        def forward(self, x):
            steps.append(x)
            return x

    x = torch.arange(64, dtype=torch.float64).remainder(3).clamp(max=1).view(64, 1, 1, 1).repeat(1, 2, 6, 6)
    result = small(
        x, build=lambda: nn.Sequential(Noting(), nn.Conv2d(2, 8, 3), norm(8), nn.Flatten(), nn.Linear(128, 3))
    )
    steps.clear()
    call(result, labelled(x), batch=16, train_samples=160)
    parts = torch.cat([step.double().flatten(1) for step in steps])
    between, varied = ((parts > 0) & (parts < 1)).any(), (parts.amax(1) > parts.amin(1)).any()
    assert (bool(between), bool(varied)) == ((False, True) if norm is nn.BatchNorm2d else (True, False))


def test_the_dense_network_and_every_gradient_stay_as_they_were():
    x = inputs(40, 6)
    result = small(x)
    result.dense[0].weight.grad = torch.ones_like(result.dense[0].weight)
    before = copy.deepcopy(result.dense.state_dict())
    made = call(result, labelled(x), batch=8, train_samples=500).model
    assert all(torch.equal(t, before[k]) for k, t in result.dense.state_dict().items())
    assert all(p.requires_grad for p in result.dense.parameters())
    assert result.dense[0].weight.grad.eq(1).all()
    assert all(p.grad is None for p in [*made.parameters(), *result.model.parameters()])


def test_masks_of_torch_hold_and_the_forward_reads_what_was_trained():
    x = inputs(40, 6)
    dense = seeded(lambda: mlp(6, 16, 4))
    net = masked(copy.deepcopy(dense))
    result = as_pruned(net, x[:2])
    result = replace(result, dense=dense)
    made = call(result, labelled(x), batch=8, train_samples=2000).model
    assert torch.equal(made[0].weight == 0, net[0].weight == 0)
    assert torch.equal(made[0].weight, made[0].weight_orig * made[0].weight_mask)
    assert kl(made, dense, x[::8]) < kl(net, dense, x[::8])


class Boxes(nn.Module):
    """What no classification gives: a dict of a list and a tensor."""

    def __init__(self):
        super().__init__()
        self.body, self.box, self.score = nn.Linear(6, 16), nn.Linear(16, 4), nn.Linear(16, 1)

    def forward(self, a, b):
        hidden = self.body(a + b).relu()
        return {"boxes": [100 * self.box(hidden)], "score": self.score(hidden)}


def test_outputs_of_any_structure_come_nearer_each_by_its_own_scale():
    a, b = inputs(96, 6), inputs(96, 6, seed=2)
    net = seeded(Boxes)
    result = isoprune.prune(net, (a[:2], b[:2]), 0.5)
    batches = [{"a": a, "b": b}]
    task = Task(inputs=lambda batch: (batch["a"], batch["b"]), loss=nn.MSELoss())
    made = call(result, batches, task=task, batch=16).model

    @torch.no_grad()
    def off(network):
        ours, dense = network(a[::8], b[::8]), net(a[::8], b[::8])
        pairs = [(ours["boxes"][0], dense["boxes"][0]), (ours["score"], dense["score"])]
        return [float((x - y).square().mean()) for x, y in pairs]

    assert all(now < before for now, before in zip(off(made), off(result.model), strict=True))


def test_classes_are_told_by_loss_and_targets_else_squares_are_taken():
    """Logits may move together under KL; a regression under the default task must not."""
    x = inputs(64, 6)
    result = small(x)
    with torch.no_grad():
        result.model[-1].bias += 5.0
    values = [(part, torch.zeros(len(part), 4)) for part in x.split(32)]
    default, squares, forced = (
        call(result, batches, batch=16, train_samples=1000, lr=0.1, match=match).model
        for batches, match in ((values, "auto"), (values, "squares"), (labelled(x), "squares"))
    )
    for other in (squares, forced):
        assert all(torch.equal(p, q) for p, q in zip(default.parameters(), other.parameters(), strict=True))
    with torch.no_grad():
        assert (default(x) - result.dense(x)).mean().abs() < 1


def test_what_cannot_be_compared_or_held_out_is_refused():
    x = inputs(40, 6)
    result = small(x)
    with pytest.raises(IsopruneError, match="holds every eighth image out, and batches hold 1"):
        call(result, labelled(x[:1]))
    for place in (0, 1):  # one that judges, one that is learnt from
        holed = x.clone()
        holed[place, 0] = torch.nan
        with pytest.raises(IsopruneError, match="An input in batches holds NaN"):
            call(result, labelled(holed))
    other = replace(result, dense=seeded(lambda: mlp(6, 16, 5)))
    with pytest.raises(IsopruneError, match="differ in number or shape"):
        call(other, labelled(x))
    one = small(x, build=lambda: mlp(6, 16, 1))
    with pytest.raises(IsopruneError, match="not one tensor of logits"):
        call(one, data(x), match="kl")
    for wrong in ({"match": "l2"}, {"train_samples": -1}, {"lr": 0}):
        with pytest.raises(IsopruneError, match=next(iter(wrong))):
            call(one, data(x), **wrong)
