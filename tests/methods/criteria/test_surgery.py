"""OBS and WoodFisher against dense curvature: scores, updates at every way of pruning, rounds, memory."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.methods.criteria.obs import obs, woodfisher
from isoprune.pruning.grains import units_of
from isoprune.pruning.mask import masks_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from signals.nets import drawn, losses, rows

LAM = 1e-2


def fishers(net, batches, task, damping=LAM):
    """Return the dense empirical Fisher matrix of every weight tensor, by its name."""
    each = losses(net, batches, task)
    named = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    G = {name: rows(each, [p]).detach() for name, p in named.items()}
    return {n: damping * torch.eye(g.shape[1], dtype=g.dtype) + g.T @ g / len(g) for n, g in G.items()}


def constrained(F, w, kept):
    """Return the weights with zeros outside of ``kept`` that are nearest to w by F."""
    kept, v = kept.flatten(), w.detach().flatten()
    new = torch.zeros_like(v)
    new[kept] = v[kept] + torch.linalg.solve(F[kept][:, kept], F[kept][:, ~kept] @ v[~kept])
    return new.reshape(w.shape)


def scored(criterion, net, batches, task, grain):
    units = units_of(trace(copy.deepcopy(net).eval(), batches[0][0]), grain)
    signals = Signals(net, batches, task)
    return units, scores_of(criterion, signals, units, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grain", ["filter", "kernel", "vector", "weight", "2:4", "2x3"])
def test_woodfisher_s_scores_are_those_of_the_dense_inverse(grain):
    net, batches, task = drawn("convolutional")
    units, got = scored(partial(woodfisher, damping=LAM), net, batches, task, grain)
    F = fishers(net, batches, task)
    for u in units:
        (member,) = u.members
        w, inverse = net.get_parameter(u.name).detach().flatten(), torch.linalg.inv(F[u.name])
        shape = net.get_parameter(u.name).shape
        unit = torch.arange(u.size) if member.unit is None else member.unit.expand(shape).flatten()
        own = [unit == i for i in range(u.size)]
        want = [w[q] @ torch.linalg.solve(inverse[q][:, q], w[q]) for q in own]
        torch.testing.assert_close(got[u.name].flatten(), torch.stack(want))


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_are_neighbours_within_a_tensor(block):
    net, batches, task = drawn("mlp")
    _, got = scored(partial(woodfisher, damping=LAM, block=block), net, batches, task, "weight")
    for name, F in fishers(net, batches, task).items():
        w = net.get_parameter(name).detach().flatten()
        at = torch.arange(len(w)) // block
        inverse = torch.linalg.inv(torch.where(at[:, None] == at, F, 0))
        torch.testing.assert_close(got[name].flatten(), w.square() / inverse.diagonal())


@pytest.mark.parametrize("grain", ["weight", "kernel", "2:4"])
def test_a_masked_network_has_the_weights_that_the_dense_curvature_asks_for(grain):
    net, batches, task = drawn("convolutional")
    net.eval()
    before = copy.deepcopy(net.state_dict())
    ratio = None if grain == "2:4" else 0.5
    cut = partial(woodfisher, damping=LAM)
    made = isoprune.prune(net, batches[0][0], ratio, criterion=cut, grain=grain, batches=batches)
    assert made.dense is net
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    F, kept = fishers(net, batches, task), masks_of(made.model)
    assert kept
    for name, mask in kept.items():
        owner, _, key = name.rpartition(".")
        got = getattr(made.model.get_submodule(owner), key)
        assert not got[~mask].any()
        torch.testing.assert_close(got.detach(), constrained(F[name], net.get_parameter(name), mask))


def test_later_rounds_keep_zeros_and_move_no_weight_that_went():
    net, batches, task = drawn("mlp")
    cut = partial(woodfisher, damping=LAM)
    first = isoprune.prune(net.eval(), batches[0][0], 0.5, criterion=cut, grain="weight", batches=batches)
    second = isoprune.prune(first, ratio=0.5, criterion=cut, grain="weight", batches=batches)
    before, after = masks_of(first.model), masks_of(second.model)
    assert all(bool((before[name] | ~after[name]).all()) for name in before)
    plain = isoprune.harden(first).model
    F = fishers(plain, batches, task)
    for name, kept in after.items():
        alive = before[name].flatten()
        # What went in the first round is no variable of the second one's quadratic.
        inside = torch.where(alive[:, None] & alive, F[name], LAM * torch.eye(len(alive)).double())
        owner, _, key = name.rpartition(".")
        got = getattr(second.model.get_submodule(owner), key).detach()
        torch.testing.assert_close(got, constrained(inside, plain.get_parameter(name), kept))


@pytest.mark.parametrize("mask", [False, True])
def test_what_reads_channels_makes_up_for_them_and_once(mask):
    net, batches, task = drawn("mlp")
    net.eval()
    cut = partial(woodfisher, damping=LAM)
    made = isoprune.prune(net, batches[0][0], 0.5, criterion=cut, batches=batches, mask=mask)
    assert made.dense is net
    kept = made.plan.kept["0"]
    rows_kept = kept[:, None].expand(4, 3)
    # Without a channel the loss rises once, though it goes from what makes it and from what reads it.
    first = torch.where(rows_kept, net[0].weight, 0)
    last = constrained(fishers(net, batches, task)["3.weight"], net[3].weight, rows_kept.T)
    if not mask:
        first, last = first[kept], last[:, kept]
    torch.testing.assert_close((made.model[0].weight, made.model[3].weight), (first, last))
    isoprune.verify(made)


def test_obs_of_one_linear_output_is_least_squares_without_the_weight():
    g = torch.Generator().manual_seed(0)
    X = torch.randn(30, 5, generator=g, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(5, 1, bias=False)).double()
    y = X @ net[0].weight.detach().T
    how = {"batches": [(X, y)], "loss": nn.MSELoss(), "grain": "weight"}
    cut = partial(obs, damping=1e-8)
    made = isoprune.prune(net, X, 0.4, criterion=cut, **how)
    kept = masks_of(made.model)["0.weight"][0]
    assert int(kept.sum()) == 3
    want = torch.linalg.lstsq(X[:, kept], y).solution.T
    torch.testing.assert_close(made.model[0].weight.detach()[:, kept], want, rtol=1e-6, atol=0)
    # The score of a weight is half the mean squared error (one half of it is J^T J) that its loss leaves.
    units = units_of(trace(net, X), "weight")
    task = isoprune.Task(loss=nn.MSELoss())
    got = scores_of(cut, Signals(net, [(X, y)], task), units, generator=torch.Generator().manual_seed(0))
    for i in range(5):
        others = [j for j in range(5) if j != i]
        left = X[:, others] @ torch.linalg.lstsq(X[:, others], y).solution - y
        torch.testing.assert_close(got["0.weight"][0, i], left.square().mean() / 2, rtol=1e-6, atol=0)


def test_obs_reads_no_label():
    net, batches, task = drawn("convolutional")
    other = [(x, (y + 1) % 3) for x, y in batches]
    one, two = (scored("obs", net, data, task, "weight")[1] for data in (batches, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_drawn_gradients_have_the_fisher_matrix_as_their_mean():
    """Over many draws the diagonal is that of the sum over classes of p g g^T."""
    net, batches, _ = drawn("mlp")
    net.eval()
    x = batches[0][0][:1]
    log_p = torch.log_softmax(net(x), 1)[0]
    G = rows(log_p, [net[3].weight]).detach()
    want = (log_p.detach().exp()[:, None] * G.square()).sum(0)
    X = x.expand(2000, -1)
    signals, units = Signals(net, [(X, None)]), units_of(trace(net, x), "weight")
    found = obs(
        signals, units, generator=torch.Generator().manual_seed(1), samples=2000, block=1, damping=1e-9
    )
    got = 2 * found["3.weight"].flatten() / net[3].weight.detach().flatten().square()
    torch.testing.assert_close(got, want, rtol=0.2, atol=1e-3)


@pytest.mark.parametrize("name", ["obs", "woodfisher"])
def test_little_memory_takes_more_passes_and_gives_the_same(name):
    model, x = network("residual")
    units, data = units_of(trace(model, x), "channel"), [(x, torch.arange(len(x)) % 5)]
    function = {"obs": obs, "woodfisher": woodfisher}[name]
    most = 8 * 8 * 8 * 9 * len(x) / 1e9  # the gradients of the largest tensor
    one, two = (
        function(Signals(model, data), units, generator=torch.Generator(), samples=len(x), gigabytes=g)
        for g in (4, most)
    )
    assert all(torch.equal(one[k], two[k]) for k in one)
    with pytest.raises(IsopruneError, match=r"by a\.weight alone take .*Lower samples \(up to 1 fit\)"):
        function(Signals(model, data), units, generator=torch.Generator(), samples=2, gigabytes=most / len(x))


def test_the_update_beats_the_mask_alone_on_the_quadratic_and_follows_the_scores():
    net, batches, task = drawn("mlp")
    F = fishers(net, batches, task)["0.weight"]
    _, scores = scored(partial(woodfisher, damping=LAM), net, batches, task, "weight")
    w = net[0].weight.detach()
    for i in range(w.numel()):
        kept = torch.arange(w.numel()).reshape(w.shape) != i
        step = (scores.update({"0.weight": kept})["0.weight"] - w).flatten()
        torch.testing.assert_close(step @ F @ step, scores["0.weight"].flatten()[i])
        alone = torch.where(kept, 0, -w).flatten()
        assert step @ F @ step <= alone @ F @ alone
