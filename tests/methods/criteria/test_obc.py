"""OBC against slow elimination of whole layers, at every grain that it knows, and against memory and work."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.methods.criteria.obc import obc
from isoprune.pruning.grains import units_of
from isoprune.pruning.mask import masks_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from test_linalg_row_elimination import best_without, slow_trace

EXACT = partial(obc, ridge=1e-12, places=10**6)


def scored(criterion, model, x, grain):
    units = units_of(trace(model, x), grain)
    data = [(x, torch.zeros(len(x), dtype=torch.long))]
    return scores_of(criterion, Signals(model, data), units, generator=torch.Generator().manual_seed(0))


def linear(inputs=6, outputs=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, outputs)).double(), torch.randn(20, inputs).double()


def test_the_lowest_scores_are_what_the_cheapest_next_step_of_any_row_would_take():
    model, x = linear()
    got = scored(EXACT, model, x, "weight")["0.weight"]
    W, A = model[0].weight.detach(), x.T @ x / len(x)
    steps = [slow_trace(A, w, torch.arange(6)[:, None]) for w in W]
    ways = [turns.argsort().tolist() for _, turns in steps]
    order, at = [], [0] * len(W)
    while any(i < 6 for i in at):
        nexts = {r: float(steps[r][0][ways[r][i]]) for r, i in enumerate(at) if i < 6}
        row = min(nexts, key=lambda r: nexts[r])
        order.append((row, ways[row][at[row]]))
        at[row] += 1
    found = [divmod(int(i), 6) for i in got.flatten().argsort()]
    assert found == order


@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_a_pruned_layer_is_the_least_squares_refit_of_its_rows(ratio):
    model, x = linear()
    made = isoprune.prune(model, x, ratio, criterion=EXACT, grain="weight", batches=[(x, x[:, 0])])
    kept, W, A = masks_of(made.model)["0.weight"], model[0].weight.detach(), x.T @ x / len(x)
    for w, stays, new in zip(W, kept, made.model[0].weight.detach(), strict=True):
        want = best_without(A, w, (~stays).nonzero().flatten().tolist())[0]
        torch.testing.assert_close(new, want)


@pytest.mark.parametrize("net", ["flattened", "grouped", "transposed"])
@pytest.mark.parametrize("grain", ["weight", "kernel", "vector"])
def test_convolutions_are_rows_over_their_windows(net, grain):
    model, x = network(net)
    got = scored(EXACT, model, x, grain)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))}
    name, layer = next((n, m) for n, m in layers.items() if m.kernel_size != (1, 1))
    read = []
    hook = layer.register_forward_hook(lambda _, args, __: read.append(args[0]))
    model(x.detach())
    hook.remove()
    h = read[0].detach()
    weight = layer.weight.detach()
    out = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    # The moments of the first filter's windows by the layer itself, given one weight at a time.
    probes = []
    for i in range(weight.select(out, 0).numel()):
        probe = copy.deepcopy(layer).requires_grad_(False)
        probe.weight.zero_()
        probe.bias.zero_()
        first = probe.weight.select(out, 0)
        first[tuple(torch.unravel_index(torch.tensor(i), first.shape))] = 1
        probes.append(probe(h)[:, 0].flatten())
    X = torch.stack(probes, 1)
    A = X.T @ X / len(X)
    size = {"weight": 1, "kernel": 9, "vector": 3}[grain]
    groups = torch.arange(len(A)).reshape(-1, size)
    A = A + 1e-12 * A.diagonal().mean() * torch.eye(len(A)).double()
    losses, turns = slow_trace(A, weight.select(out, 0).flatten(), groups)
    want = losses.gather(0, turns.argsort()).cummax(0).values
    mine = got[f"{name}.weight"].select(out, 0).flatten()
    torch.testing.assert_close(mine.gather(0, turns.argsort()), want, rtol=1e-4, atol=1e-7)


def test_n_of_m_masks_are_exact_and_no_better_pick_exists_in_a_row_of_one_neighbourhood():
    model, x = linear(4, 5)
    made = isoprune.prune(model, x, criterion=EXACT, grain="3:4", batches=[(x, x[:, 0])])
    kept, A = masks_of(made.model)["0.weight"], x.T @ x / len(x)
    assert (kept.sum(1) == 3).all()
    for w, stays in zip(model[0].weight.detach(), kept, strict=True):
        errors = torch.stack([best_without(A, w, [j])[1] for j in range(4)])
        assert int(stays.long().argmin()) == int(errors.argmin())


def test_rows_of_n_of_m_stop_where_every_neighbourhood_is_full():
    model, x = linear(8, 4)
    got = scored(EXACT, model, x, "2:4")["0.weight"]
    A = x.T @ x / len(x)
    for w, scores in zip(model[0].weight.detach(), got, strict=True):
        how = {"bucket": torch.arange(8) // 4, "most": torch.tensor([2, 2])}
        turns = slow_trace(A, w, torch.arange(8)[:, None], **how)[1]
        assert set(scores.argsort()[:4].tolist()) == set((turns < 8).nonzero().flatten().tolist())
    made = isoprune.prune(model, x, criterion=EXACT, grain="2:4", batches=[(x, x[:, 0])])
    assert (masks_of(made.model)["0.weight"].unflatten(1, (2, 4)).sum(2) == 2).all()


def test_inputs_that_are_always_zero_go_first():
    model, x = linear()
    x[:, 2] = 0
    got = scored(obc, model, x, "weight")["0.weight"]
    assert (got.argmin(1) == 2).all()
    made = isoprune.prune(model, x, 0.5, criterion="obc", grain="weight", batches=[(x, x[:, 0])])
    assert not masks_of(made.model)["0.weight"][:, 2].any()


def test_a_block_leaves_other_inputs_as_they_are():
    model, x = linear()
    got = scored(partial(EXACT, block=2), model, x, "weight")["0.weight"]
    A = x.T @ x / len(x)
    for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
        for w, scores in zip(model[0].weight.detach(), got, strict=True):
            losses, turns = slow_trace(A[part, part], w[part], torch.arange(2)[:, None])
            want = losses.gather(0, turns.argsort()).cummax(0).values
            torch.testing.assert_close(scores[part].gather(0, turns.argsort()), want, rtol=1e-6, atol=1e-8)


def test_it_beats_magnitude_with_a_refit_and_magnitude_without_at_what_it_is_made_for():
    model, x = linear(16, 8)
    y = model(x).detach()
    made = {c: isoprune.prune(model, x, 0.6, criterion=c, grain="weight", batches=[(x, y)]).model(x).detach()
            for c in ("obc", "l1_norm")}  # fmt: skip
    kept = isoprune.prune(model, x, 0.6, grain="weight")
    A, refit = x.T @ x / len(x), []
    for w, stays in zip(model[0].weight.detach(), masks_of(kept.model)["0.weight"], strict=True):
        refit.append(best_without(A, w, (~stays).nonzero().flatten().tolist())[0])
    errors = {c: float(F.mse_loss(out, y)) for c, out in made.items()}
    alone = F.mse_loss(x @ torch.stack(refit).T + model[0].bias.detach(), y)
    assert errors["obc"] < float(alone) < errors["l1_norm"]


def test_what_takes_too_long_or_too_much_is_refused_with_what_to_lower():
    model, x = linear(64, 3)
    with pytest.raises(
        IsopruneError, match=r"Rows of up to 64 weights take 3e\+05 .*Lower block \(at 32 it is"
    ):
        scored(partial(obc, work=1e5), model, x, "weight")
    scored(partial(obc, work=1e5, block=32), model, x, "weight")
    with pytest.raises(IsopruneError, match=r"those of 0\.weight alone 0\.0, more than gigabytes=1e-06"):
        scored(partial(obc, gigabytes=1e-6), model, x, "weight")


def test_no_label_is_read():
    model, x = network("flattened")
    units = units_of(trace(model, x), "weight")
    one, two = (
        scores_of("obc", Signals(model, [(x, y)]), units, generator=torch.Generator().manual_seed(0))
        for y in (torch.zeros(len(x)).long(), torch.ones(len(x)).long())
    )
    assert all(torch.equal(one[k], two[k]) for k in one)
