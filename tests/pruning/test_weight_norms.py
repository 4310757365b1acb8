"""Norms over what a weight reads: kept where torch's own have a place for it, else named with the change."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

import isoprune
from isoprune.graph import trace
from isoprune.pruning.verify import verify
from isoprune.types import IsopruneError

x = torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
maps = torch.randn(8, 3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def old(layer, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer, **options)


def new(layer, **options):
    return parametrizations.weight_norm(layer, **options)


def spectral(layer, **options):
    return nn.utils.spectral_norm(layer, **options)


def new_spectral(layer, **options):
    return parametrizations.spectral_norm(layer, **options)


def chain(*layers, data=x):
    """Return layers with ReLU between them, run for a moment so that lengths and vectors are their own."""
    torch.manual_seed(3)
    model = nn.Sequential(*(part for layer in layers for part in (layer(), nn.ReLU())))[:-1].double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 0.3 * torch.rand_like(p))
        for _ in range(20):
            model.train()(data)
    return model.eval()


def linear(norm, *sizes, **options):
    return lambda: norm(nn.Linear(*sizes), **options)


NORMS = {"old": old, "new": new, "spectral": spectral, "new spectral": new_spectral}


@torch.no_grad()
def by_hand(model, removed, data):
    """Run the dense network with activations zeroed where the next layer reads them: the weights stay."""
    layers = list(model)[::2]
    for i, layer in enumerate(layers):
        if i:
            stays = torch.ones(data.shape[1], dtype=data.dtype)
            stays[list(removed.get(str(2 * i - 2), ()))] = 0
            data = data * stays.view(1, -1, *(1,) * (data.dim() - 2))
        data = layer(data)
        data = data.relu() if i < len(layers) - 1 else data
    return data


def check_kept(model, data):
    small = isoprune.prune(model, data, 0.5)
    assert small.plan.removed
    assert small.proof.statistics == ()
    with torch.no_grad():
        torch.testing.assert_close(small.model(data), by_hand(model, small.plan.removed, data))
    return small


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("options", [{}, {"dim": 1}])
def test_a_norm_of_torch_is_kept_and_so_is_the_function(name, options):
    norm = NORMS[name]
    check_kept(
        chain(linear(norm, 8, 16, **options), linear(norm, 16, 16, **options), lambda: nn.Linear(16, 4)), x
    )


@pytest.mark.parametrize("name", NORMS)
def test_convolutions_and_transposed_ones_keep_theirs(name):
    norm = NORMS[name]
    model = chain(
        lambda: norm(nn.Conv1d(3, 16, 3)),
        lambda: norm(nn.ConvTranspose1d(16, 12, 4, 2)),
        lambda: norm(nn.Conv1d(12, 12, 3, groups=4)),
        lambda: norm(nn.Conv1d(12, 2, 1)),
        data=maps,
    )
    check_kept(model, maps)


@pytest.mark.parametrize("norm", [old, new])
def test_one_length_for_a_whole_weight_is_kept(norm):
    model = chain(linear(norm, 8, 16, dim=None), linear(norm, 16, 16, dim=None), lambda: nn.Linear(16, 4))
    check_kept(model, x)


@pytest.mark.parametrize("name", NORMS)
def test_rounds_training_and_verify_go_on_with_it(name, tmp_path):
    norm = NORMS[name]

    def make():
        return chain(linear(norm, 8, 16), linear(norm, 16, 16), lambda: nn.Linear(16, 4))

    once = isoprune.prune(make(), x, 0.25)
    twice = isoprune.prune(once, ratio=0.5)
    optimizer = torch.optim.SGD(twice.model.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        twice.model.train()(x).square().mean().backward()
        optimizer.step()
    twice.model.eval()
    assert isoprune.verify(twice).relative_error < 1e-8
    isoprune.save(twice, tmp_path / "small")
    loaded = isoprune.load(tmp_path / "small", build=make)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), twice.model(x))


def test_weight_norm_in_train_mode_computes_the_same():
    model = chain(linear(new, 8, 16), linear(new, 16, 16), lambda: nn.Linear(16, 4))
    small = check_kept(model, x)
    with torch.no_grad():
        torch.testing.assert_close(small.model.train()(x), by_hand(model, small.plan.removed, x))


def test_a_filter_whose_inputs_all_go_stays_finite():
    model = chain(linear(old, 8, 16), linear(old, 16, 16), lambda: nn.Linear(16, 4))
    with torch.no_grad():
        model[2].weight_v[0, :8] = 0
    graph = trace(model, x)
    small = isoprune.pruning.shrink(model, graph, graph.removing({"0": range(8, 16)}))
    with torch.no_grad():
        assert torch.isfinite(model[2].weight_v).all()
        assert torch.isfinite(small[2].weight_g).all()


class Unbiased(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes, bias=False)


class Cosine(Unbiased):
    def forward(self, x):
        return 10 * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


class ByHand(nn.Linear):
    eps = 1e-8

    def forward(self, x):
        return F.linear(x, self.weight / (self.weight.norm(dim=1, keepdim=True) + self.eps), self.bias)


class WithoutEps(ByHand):
    eps = 0.0


class Largest(ByHand):
    def forward(self, x):
        return F.linear(x, self.weight / self.weight.abs().amax(1, keepdim=True), self.bias)


class Whole(ByHand):
    def forward(self, x):
        return F.linear(x, self.weight / torch.dot(self.weight.flatten(), self.weight.flatten()), self.bias)


class Distances(Unbiased):
    """Squared distances to prototypes, the square taken apart."""

    def forward(self, x):
        w = self.weight
        return x.square().sum(1, keepdim=True) - 2 * x @ w.T + w.square().sum(1)


class Standardised(nn.Linear):
    def forward(self, x):
        w = self.weight
        return F.linear(x, (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5), self.bias)


@pytest.mark.parametrize("kind", [Cosine, ByHand, WithoutEps, Largest, Whole, Distances, Standardised])
@pytest.mark.parametrize("at", [1, 2])
def test_a_norm_by_hand_is_named_with_the_size_of_the_change(kind, at):
    kinds = [kind if i == at else nn.Linear for i in range(3)]
    model = chain(lambda: kinds[0](8, 16), lambda: kinds[1](16, 16), lambda: kinds[2](16, 4))
    small = isoprune.prune(model, x, 0.5)
    assert small.proof.relative_error < 1e-8
    assert any(f" in {2 * at}" in where for where in small.proof.statistics)
    want = by_hand(model, small.plan.removed, x)
    with torch.no_grad():
        change = (small.model(x) - want).abs().max() / want.abs().max()
    assert change > 1e-3
    if kind is not Standardised:  # its mean is over activations' channels as a layer norm's is
        assert small.proof.change == pytest.approx(float(change), rel=0.2)


class Found(nn.Module):
    """Returns what it makes and a part of it that may hold nothing, as a detector does."""

    def __init__(self, least):
        super().__init__()
        self.least = least
        self.layers = chain(lambda: nn.Linear(8, 16), lambda: ByHand(16, 16), lambda: nn.Linear(16, 4))

    def forward(self, x):
        y = self.layers(x)
        return y, y[y[:, 0] > self.least]


@pytest.mark.parametrize("least", [-1e6, 1e6])
def test_an_output_may_be_empty_where_a_norm_changes(least):
    small = isoprune.prune(Found(least), x, 0.5)
    assert any(" in layers.2" in where for where in small.proof.statistics)
    assert 1e-3 < small.proof.change < 10


class LowRank(nn.Module):
    """A factorised weight: its rank is made of channels of its own, and no norm."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.down = nn.Parameter(torch.randn(6, inputs) / 3)
        self.up = nn.Parameter(torch.randn(outputs, 6) / 3)

    def forward(self, x):
        return F.linear(x, self.up @ self.down)


def test_the_rank_of_a_factorised_weight_is_no_norm():
    model = chain(lambda: nn.Linear(8, 16), lambda: LowRank(16, 16), lambda: nn.Linear(16, 4))
    small = isoprune.prune(model, x, 0.5)
    assert small.proof.statistics == ()
    assert small.proof.change == 0


class Embedded(nn.Module):
    """A table's rows are data: a norm over them is one over activations."""

    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(20, 16), nn.Linear(16, 3)

    def forward(self, tokens):
        return self.out(F.normalize(self.table(tokens), dim=-1))


def test_a_norm_over_what_a_table_gives_is_zeroed_like_activations():
    model = Embedded().double()
    small = isoprune.prune(model, torch.arange(12).reshape(3, 4), 0.5)
    assert small.proof.statistics == ()


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("how", [{"mask": True}, {"grain": "weight"}, {"grain": "filter"}])
def test_masks_on_what_a_norm_is_taken_of_are_refused_by_name(name, how):
    model = chain(linear(NORMS[name], 8, 16), linear(NORMS[name], 16, 16), lambda: nn.Linear(16, 4))
    with pytest.raises(IsopruneError, match=r"^0\..* is under (weight|spectral) norm, .*remove_"):
        isoprune.prune(model, x, 0.5, **how)


def test_what_was_kept_is_proven_against_the_whole_weight():
    model = chain(linear(new, 8, 16), linear(new, 16, 16), lambda: nn.Linear(16, 4))
    small = isoprune.prune(model, x, 0.5)
    with torch.no_grad():
        small.model[2].parametrizations.weight.original0.mul_(1.01)
    with pytest.raises(isoprune.pruning.WrongNetwork):
        verify(model, small.model, small.graph, small.plan, x)


@pytest.mark.parametrize("name", NORMS)
def test_factors_that_float32_rounded_are_proven_too(name):
    model = chain(linear(NORMS[name], 8, 16), linear(NORMS[name], 16, 16), lambda: nn.Linear(16, 4)).float()
    small = isoprune.prune(model, x.float(), 0.5)
    assert small.proof.statistics == ()
    with torch.no_grad():
        want = by_hand(model, small.plan.removed, x.float())
        torch.testing.assert_close(small.model(x.float()), want, rtol=1e-4, atol=1e-5)


def test_a_norm_over_so_many_weights_that_float32_rounds_it_often_is_proven_too():
    model = chain(lambda: nn.Conv1d(3, 64, 3), lambda: new(nn.Conv1d(64, 64, 4), dim=2), data=maps).float()
    model.append(nn.Conv1d(64, 2, 1))
    assert isoprune.prune(model, maps.float(), {"*": 0, "0": 0.5}).proof.relative_error < 1e-12
