"""Reconstruction: exact where it can be, optimal where it cannot, and the same function in train mode."""

from __future__ import annotations

import copy
import importlib
import logging

import pytest
import torch
from repair_networks import data, run
from torch import Generator, nn
from torch.nn.utils import prune as masks

import isoprune
from isoprune.linalg.ridge import Moments, ridge
from isoprune.methods.repairs.reconstruct import reconstruct
from isoprune.types import IsopruneError


class Residual(nn.Module):
    """A stem, two blocks whose sums go on, and a classifier; some channels of each block are doubles."""

    def __init__(self, groups=1, normed=True):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.blocks = nn.ModuleList()
        for _ in range(2):
            norm = nn.BatchNorm2d if normed else (lambda _: nn.Identity())
            self.blocks.append(
                nn.ModuleDict(
                    {
                        "a": nn.Conv2d(4, 8, 3, padding=1, groups=groups, bias=not normed),
                        "an": norm(8),
                        "b": nn.Conv2d(8, 4, 1, bias=not normed),
                        "bn": norm(4),
                    }
                )
            )
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            y = torch.relu(block["an"](block["a"](x)))
            x = torch.relu(x + block["bn"](block["b"](y)))
        return self.fc(x.mean((2, 3)))


def inputs(n=80):
    return torch.randn(n, 2, 5, 5, dtype=torch.float64, generator=Generator().manual_seed(3))


def settled(net, x):
    """Return the network in float64 with weights as after training and statistics of its inputs."""
    net = net.double().train()
    with torch.random.fork_rng():
        torch.random.manual_seed(7)
        for p in net.parameters():
            fresh = torch.randn_like(p)
            # Scales near 1, biases near 0, filters of length about 1: torch's own draw is not ours to seed.
            p.data = fresh / p[0].numel() ** 0.5 if p.ndim > 1 else p.data.round() + 0.2 * fresh
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
    with torch.no_grad():
        net(x)
    return net.eval()


def repaired(result, dense, x, **options):
    return run(reconstruct, result.model, dense=dense, plan=result.plan, batches=data(x), **options)


def doubled(net):
    """Make the second half of every block's inner channels a copy of the first."""
    for block in net.blocks:
        for tensor in (*block["a"].parameters(), *block["an"].parameters(), *block["an"].buffers()):
            if tensor.ndim:
                tensor.data[4:] = tensor.data[:4]
    return net


def second_halves(signals, units, *, generator):
    return {u.name: -torch.arange(u.size).double() for u in units}


@pytest.mark.parametrize("normed", [True, False])
def test_what_others_know_too_comes_back_exactly(normed):
    x = inputs()
    dense = doubled(settled(Residual(normed=normed), x))
    result = isoprune.prune(dense, x[:2], 0.5, criterion=second_halves, scope="internal")
    with torch.no_grad():
        want, before = dense(x), result.model(x)
        got = repaired(result, dense, x, give=0.0, places=25)(x)
    scale = want.std()
    assert (before - want).abs().max() > 0.1 * scale
    assert (got - want).abs().max() < 2e-3 * scale  # the pull of strength 1e-6 remains


def test_nothing_removed_nothing_changed():
    x = inputs()
    dense = settled(Residual(), x)
    new = run(reconstruct, copy.deepcopy(dense), dense=dense, batches=data(x), places=25)
    with torch.no_grad():
        torch.testing.assert_close(new(x), dense(x), rtol=1e-6, atol=1e-8)
    for a, b in zip(new.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)  # n / (n - 1) of the variances


def test_what_a_sum_lacks_is_orthogonal_to_what_its_last_layer_reads(monkeypatch):
    """The normal equations of the sum: no change of the layer's weights could bring it nearer."""
    home = importlib.import_module("isoprune.methods.layers.fitted_layers")
    monkeypatch.setattr(home, "ridge", lambda *a, **k: ridge(*a, **{**k, "strengths": [1e-9]}))
    x = inputs(200)
    dense = settled(Residual(), x)
    result = isoprune.prune(dense, x[:2], 0.5, scope="internal")
    new = repaired(result, dense, x, places=25)
    seen = {}
    for name, net in (("dense", dense), ("new", new)):
        for key, what, at in (("b", "read", 0), ("bn", "made", 1), ("a", "stream", 0)):
            net.blocks[1][key].register_forward_hook(
                lambda _, args, out, key=f"{name} {what}", at=at: seen.update({key: (args[0], out)[at]})
            )
        with torch.no_grad():
            net(x)
    lacking = (seen["dense stream"] + seen["dense made"]) - (seen["new stream"] + seen["new made"])
    lacking, read = (t.transpose(0, 1).flatten(1) for t in (lacking, seen["new read"]))
    assert lacking.mean(1).abs().max() < 1e-6 * lacking.std()
    covariance = lacking @ (read - read.mean(1, keepdim=True)).mT / lacking.shape[1]
    size = lacking.std(1)[:, None] * read.std(1)
    assert (covariance / size).abs().max() < 1e-6
    assert lacking.std() > 1e-3 * seen["dense made"].std()  # there was something to lack


@pytest.mark.parametrize("groups", [1, 2])
def test_eval_and_train_mode_are_one_function_and_filters_keep_their_length(groups):
    x = inputs()
    dense = settled(Residual(groups=groups), x)
    result = isoprune.prune(dense, x[:2], 0.5, scope="internal")
    new = repaired(result, dense, x, places=25)
    assert not new.training
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(new).train()(x), new(x), rtol=1e-5, atol=1e-6)
    for a, b in zip(new.blocks, result.model.blocks, strict=True):
        for key in ("a", "b"):
            torch.testing.assert_close(a[key].weight.norm(), b[key].weight.norm())


def test_closer_to_the_dense_network_on_inputs_it_never_saw():
    x, unseen = inputs(400).split(200)
    dense = settled(Residual(), x)
    result = isoprune.prune(dense, x[:2], 0.5, scope="internal")
    with torch.no_grad():
        want = dense(unseen)
        off = [(m(unseen) - want).norm() for m in (result.model, repaired(result, dense, x))]
    assert off[1] < 0.6 * off[0]


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.head = nn.Linear(4, 12), nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head((x + self.down(torch.relu(self.up(x)))).mean(1))


def test_linear_layers_on_sequences():
    x, unseen = torch.randn(400, 3, 4, dtype=torch.float64, generator=Generator().manual_seed(1)).split(200)
    dense = settled(Tokens(), x)
    result = isoprune.prune(dense, x[:2], 0.4)
    new = repaired(result, dense, x)
    with torch.no_grad():
        want = dense(unseen)
        assert (new(unseen) - want).norm() < 0.6 * (result.model(unseen) - want).norm()


def test_the_fit_in_the_span_of_few_samples_is_the_fit(monkeypatch):
    x = torch.randn(24, 2, 4, dtype=torch.float64, generator=Generator().manual_seed(1))
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 60), nn.ReLU(), nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 3)
    )
    dense = settled(net, x)
    result = isoprune.prune(dense, x[:2], 0.4)  # leaves 36 and 30 inputs to 24 samples
    home = importlib.import_module("isoprune.methods.repairs.reconstruct")
    wide = repaired(result, dense, x)

    def at_full_size(layer, g, W0, give):
        ((X, Y),) = [(X[:, :, g].flatten(0, 1), Y[:, :, g].flatten(0, 1)) for X, Y in layer.data()]
        return ridge([Moments.of(X[k::4], Y[k::4]) for k in range(4)], W0, give=give)

    monkeypatch.setattr(home, "_wide", at_full_size)
    full = repaired(result, dense, x)
    for a, b, before in zip(wide.parameters(), full.parameters(), result.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        assert not torch.equal(a, before)


def test_a_mask_stays_and_what_is_inside_is_fitted():
    x = torch.randn(60, 5, dtype=torch.float64, generator=Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        dense = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4)).double().eval()
    pruned = copy.deepcopy(dense)
    for layer in (pruned[0], pruned[2]):
        masks.l1_unstructured(layer, "weight", 0.5)
    new = run(reconstruct, pruned, dense=dense, batches=data(x))
    with torch.no_grad():
        assert (new(x) - dense(x)).norm() < 0.9 * (pruned(x) - dense(x)).norm()
    for a, b in zip((new[0], new[2]), (pruned[0], pruned[2]), strict=True):
        assert torch.equal(a.weight_mask, b.weight_mask)
        assert not a.weight[a.weight_mask == 0].any()


def test_each_layer_is_told_to_the_log(caplog):
    x = inputs(20)
    dense = settled(Residual(), x)
    result = isoprune.prune(dense, x[:2], 0.5, scope="internal")
    with caplog.at_level(logging.INFO, "isoprune.methods.repairs.reconstruct"):
        repaired(result, dense, x)
    assert [m.split(":")[0] for m in caplog.messages][:2] == ["stem", "blocks.0.a"]
    assert all("of the variance left" in m for m in caplog.messages)


def test_what_does_not_belong_together_is_refused():
    x = inputs(10)
    dense = settled(Residual(), x)
    result = isoprune.prune(dense, x[:2], 0.5, scope="internal")
    other = isoprune.prune(dense, x[:2], 0.25, scope="internal")
    with pytest.raises(IsopruneError, match=r"the plan leaves a weight of shape .* Pass the plan and"):
        run(reconstruct, result.model, dense=dense, plan=other.plan, batches=data(x))
    with pytest.raises(IsopruneError, match=r"takes [\d,]+ bytes; memory = 1,000. Lower samples or places"):
        repaired(result, dense, x, memory=1000)
    with pytest.raises(IsopruneError, match="batches is empty"):
        run(reconstruct, result.model, dense=dense, plan=result.plan, batches=[])
