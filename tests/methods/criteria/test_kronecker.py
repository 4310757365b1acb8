"""The K-FAC family against dense matrices: factors, scores at their grains, updates."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import CRITERIA, scores_of
from isoprune.methods.criteria.c_obd import c_obd
from isoprune.methods.layers.layer_moments import layer_moments
from isoprune.pruning.grains import units_of
from isoprune.pruning.mask import masks_of
from isoprune.signals import Signals
from isoprune.signals.own_labels import with_own_labels
from isoprune.types import IsopruneError, Task
from signals.nets import drawn

LAM = 1e-3
EXACT = {"damping": LAM, "places": 10**6}


def moments_of(signals, seed=0):
    names = [name for name, w in signals.weights.items() if w.dim() > 1]
    how = {"samples": 256, "places": 10**6, "gigabytes": 1.0}
    return layer_moments(signals, names, generator=torch.Generator().manual_seed(seed), **how)


def scored(criterion, net, batches, grain, task=None, **options):
    """Return units, scores, and the dense damped G x A of every weight in the order of its elements."""
    signals = Signals(net, batches, *([task] if task else []))
    units = units_of(trace(net, batches[0][0]), grain)
    function = partial(CRITERIA[criterion], **options)
    got = scores_of(function, signals, units, generator=torch.Generator().manual_seed(0))
    F = {}
    for name, m in moments_of(signals).items():
        (A,), (G,) = m.inputs, m.outputs
        share = (A.diagonal().mean() / G.diagonal().mean()).sqrt()
        damped = [t + LAM**0.5 * by * torch.eye(len(t)).double() for t, by in ((G, 1 / share), (A, share))]
        F[name] = torch.kron(*damped)
    return units, got, F


def test_for_one_sample_of_a_linear_layer_the_factors_are_its_fisher_matrix():
    net = nn.Sequential(nn.Linear(4, 3)).double()
    signals = Signals(net, [(torch.randn(1, 4, dtype=torch.float64), None)])
    m = moments_of(signals)["0.weight"]
    own = with_own_labels(signals, 1, torch.Generator().manual_seed(0))
    (g,) = (found["0.weight"][0].flatten() for found in own.sample_gradients())
    torch.testing.assert_close(torch.kron(m.outputs[0], m.inputs[0]), torch.outer(g, g))


def test_for_a_value_of_a_linear_layer_they_are_exact_over_all_samples():
    net, task = nn.Sequential(nn.Linear(4, 1)).double(), Task(loss=nn.MSELoss())
    x = torch.randn(7, 4, dtype=torch.float64)
    m = moments_of(Signals(net, [(x, x[:, :1])], task))["0.weight"]
    torch.testing.assert_close(torch.kron(m.outputs[0], m.inputs[0]), x.T @ x / 7)


def factors_of_curvlinops(net, batches, names):
    """Return A and G of every layer, by its name, under the network's own labels, summed exactly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch.jit, which a library that it imports calls
        import curvlinops

    weights = [net.get_submodule(name).weight for name in names]
    operator = curvlinops.KFACLinearOperator(
        net, nn.CrossEntropyLoss(), weights, batches, fisher_type="type-2", check_deterministic=False
    )
    operator.compute_kronecker_factors()
    found = operator.state_dict()
    return found["input_covariances"], found["gradient_covariances"]


def test_what_layers_read_has_the_factor_that_curvlinops_finds():
    net, batches, _ = drawn("mlp")
    mine = moments_of(Signals(net.eval(), batches))
    inputs, _ = factors_of_curvlinops(net, batches, ["0", "3"])
    for name in ("0", "3"):
        torch.testing.assert_close(mine[f"{name}.weight"].inputs[0], inputs[name])


def test_the_slopes_factor_is_that_of_curvlinops_over_many_draws():
    net, batches, _ = drawn("mlp")
    x = batches[0][0][:1]
    _, want = factors_of_curvlinops(net.eval(), [(x, batches[0][1][:1])], ["3"])
    signals = Signals(net, [(x.expand(4000, -1), None)])
    how = {"samples": 4000, "places": 1, "gigabytes": 1.0, "generator": torch.Generator().manual_seed(0)}
    got = layer_moments(signals, ["3.weight"], **how)["3.weight"].outputs[0]
    torch.testing.assert_close(got, want["3"], rtol=0.1, atol=0.01)


def members(units, net):
    """Yield, tensor by tensor, the flat weights, and which of them each unit owns (bool)."""
    for u in units:
        (m,) = u.members
        w = net.get_parameter(m.tensor).detach()
        unit = torch.arange(u.size).reshape(w.shape) if m.unit is None else m.unit.expand(w.shape)
        yield u.name, w.flatten(), [unit.flatten() == i for i in range(u.size)]


@pytest.mark.parametrize("net", ["mlp", "convolutional"])
def test_whole_filters_by_their_block_of_the_dense_matrix(net):
    model, batches, _ = drawn(net)
    model.eval()
    for name in ("kron_obd", "kron_obs"):
        units, got, F = scored(name, model, batches, "filter", **EXACT)
        for tensor, w, own in members(units, model):
            inverse = torch.linalg.inv(F[tensor])
            blocks = [F[tensor][q][:, q] if name == "kron_obd" else inverse[q][:, q].inverse() for q in own]
            want = [w[q] @ block @ w[q] / 2 for q, block in zip(own, blocks, strict=True)]
            torch.testing.assert_close(got[tensor].flatten(), torch.stack(want))


@pytest.mark.parametrize("grain", ["filter", "kernel", "weight", "2:4", "2x3"])
def test_single_weights_by_the_diagonal_of_the_dense_inverse(grain):
    model, batches, _ = drawn("convolutional")
    units, got, F = scored("c_obs", model.eval(), batches, grain, **EXACT)
    for tensor, w, own in members(units, model):
        each = w.square() / torch.linalg.inv(F[tensor]).diagonal() / 2
        torch.testing.assert_close(got[tensor].flatten(), torch.stack([each[q].sum() for q in own]))


@pytest.mark.parametrize("grain", ["filter", "vector", "weight"])
def test_c_obd_is_the_diagonal_of_the_fisher_matrix_of_drawn_labels(grain):
    model, batches, _ = drawn("convolutional")
    signals, units = Signals(model.eval(), batches), units_of(trace(model, batches[0][0]), grain)
    got = c_obd(signals, units, generator=torch.Generator().manual_seed(3))
    own = with_own_labels(signals, 64, torch.Generator().manual_seed(3))
    found = list(own.sample_gradients())
    G = [torch.cat([part[u.name].flatten(1) for part in found]) for u in units]
    for g, (tensor, w, mine) in zip(G, members(units, model), strict=True):
        each = w.square() * g.square().mean(0) / 2
        torch.testing.assert_close(got[tensor].flatten(), torch.stack([each[q].sum() for q in mine]))


@pytest.mark.parametrize(("name", "grain"), [("c_obs", "weight"), ("c_obs", "2:4"), ("kron_obs", "filter")])
def test_a_masked_network_has_the_weights_that_the_dense_matrix_asks_for(name, grain):
    model, batches, _ = drawn("convolutional")
    model.eval()
    _, _, F = scored(name, model, batches, grain, **EXACT)
    how = {"criterion": partial(CRITERIA[name], **EXACT), "grain": grain, "batches": batches}
    made = isoprune.prune(model, batches[0][0], None if ":" in grain else 0.5, **how)
    for tensor, kept in masks_of(made.model).items():
        owner, _, key = tensor.rpartition(".")
        w, r = model.get_parameter(tensor).detach().flatten(), kept.flatten()
        want = torch.zeros_like(w)
        want[r] = w[r] + torch.linalg.solve(F[tensor][r][:, r], F[tensor][r][:, ~r] @ w[~r])
        got = getattr(made.model.get_submodule(owner), key).detach().flatten()
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["c_obs", "kron_obs"])
def test_channels_that_go_are_made_up_for_by_what_reads_them_and_once(name):
    model, batches, _ = drawn("mlp")
    model.eval()
    _, _, F = scored(name, model, batches, "channel", **EXACT)
    how = {"criterion": partial(CRITERIA[name], **EXACT), "batches": batches}
    made = isoprune.prune(model, batches[0][0], 0.5, **how)
    kept = made.plan.kept["0"]
    torch.testing.assert_close(made.model[0].weight, model[0].weight[kept])
    w, r = model[3].weight.detach().flatten(), kept.expand(3, 4).flatten()
    M = F["3.weight"]
    want = w[r] + torch.linalg.solve(M[r][:, r], M[r][:, ~r] @ w[~r])
    torch.testing.assert_close(made.model[3].weight.detach().flatten(), want)


def test_heads_go_with_all_filters_of_their_projections():
    model, x = network("heads")
    units, got, F = scored("kron_obs", model, [(x, None)], "head", **EXACT)
    want = []
    for name in ("q", "k", "v"):
        W = getattr(model, name).weight.detach()
        inverse, w = torch.linalg.inv(F[f"{name}.weight"]), W.flatten()
        rows = torch.arange(len(W)).unflatten(0, (4, -1))
        own = [torch.isin(torch.arange(len(W)), r)[:, None].expand_as(W).flatten() for r in rows]
        want.append(torch.stack([w[q] @ inverse[q][:, q].inverse() @ w[q] / 2 for q in own]))
    torch.testing.assert_close(got["q.heads"], torch.stack(want).mean(0))
    assert len(units) == 1


def test_tensors_without_factors_are_taken_with_their_diagonal():
    with torch.random.fork_rng():
        torch.manual_seed(0)

        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

            def forward(self, x):
                return self.head(self.rnn(x)[0][:, -1])

        model, x = Recurrent().double(), torch.randn(5, 3, 3, dtype=torch.float64)
    units, got, _ = scored("c_obs", model, [(x, None)], "weight", **EXACT)
    first = next(u.name for u in units if "rnn" in u.name)
    assert bool((got[first] >= 0).all())
    assert bool(got[first].any())
    assert first not in got.update({first: torch.ones(got[first].shape, dtype=torch.bool)})


@pytest.mark.parametrize("name", ["c_obs", "kron_obd", "kron_obs"])
def test_factors_that_do_not_fit_are_refused_first(name):
    model, batches, _ = drawn("mlp")
    with pytest.raises(
        IsopruneError, match=r"more than gigabytes=1e-07\. Raise gigabytes, or take criterion"
    ):
        scored(name, model.eval(), batches, "filter", gigabytes=1e-7)
