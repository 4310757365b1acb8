"""Criteria score the weights that a forward works with, whatever they are computed from."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as masks

import isoprune
from isoprune.signals import Signals
from isoprune.types import IsopruneError

x = torch.randn(8, 3, 10, 10, generator=torch.Generator().manual_seed(0))
labels = torch.arange(8) % 5


def network():
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


class Sevenths(nn.Module):
    """A quantised weight."""

    def forward(self, weight):
        return torch.round(7 * weight) / 7


class Scaled(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(2, 0.1, size).view(-1, 1, 1, 1))

    def forward(self, weight):
        return weight * self.scale


def weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer)
    layer.weight_g.data *= torch.linspace(3, 0.2, len(layer.weight_g)).view_as(layer.weight_g)


def new_weight_norm(layer):
    parametrizations.weight_norm(layer)
    g = layer.parametrizations.weight.original0
    g.data *= torch.linspace(3, 0.2, len(g)).view_as(g)


def two_masks(layer):
    masks.ln_structured(layer, "weight", 0.3, 2, 0)
    masks.l1_unstructured(layer, "weight", 0.3)


WAYS = {
    "structured masks": lambda m: masks.ln_structured(m, "weight", 0.4, n=1, dim=0),
    "single masks": lambda m: masks.l1_unstructured(m, "weight", 0.6),
    "two masks": two_masks,
    "weight norm": weight_norm,
    "new weight norm": new_weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "scaled": lambda m: parametrize.register_parametrization(m, "weight", Scaled(m.out_channels)),
    "quantised": lambda m: parametrize.register_parametrization(m, "weight", Sevenths()),
}


@pytest.mark.parametrize(
    "criterion",
    [
        "l1_norm",
        "fisher",
        *(pytest.param(c, marks=pytest.mark.matrix) for c in ("l2_norm", "taylor", "snip")),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_what_goes_is_what_goes_of_the_plain_network(way, criterion):
    model, plain = network(), network()
    for at in (0, 2):
        WAYS[way](model[0][at])
    with torch.no_grad():
        model(x)
        for at in (0, 2):
            plain[0][at].weight.copy_(model[0][at].weight)
    data = {"batches": [(x, labels)]}
    want = isoprune.prune(plain, x, 0.5, criterion=criterion, **data)
    got = isoprune.prune(model, x, 0.5, criterion=criterion, **data)
    assert got.plan.removed == want.plan.removed
    assert got.proof.relative_error < 1e-4
    if got.proof.statistics == ():
        with torch.no_grad():
            torch.testing.assert_close(got.model(x), want.model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("permanent", [False, True])
def test_dead_filters_go_first_whether_their_masks_were_made_permanent_or_not(permanent):
    model = network()
    for at in (0, 2):
        layer = model[0][at]
        masks.ln_structured(layer, "weight", 0.5, n=1, dim=0)
        layer.bias.data[layer.weight.flatten(1).abs().sum(1) == 0] = 0
    dead = {f"0.{at}": {i for i in range(16) if not model[0][at].weight[i].any()} for at in (0, 2)}
    if permanent:
        for at in (0, 2):
            masks.remove(model[0][at], "weight")
    small = isoprune.prune(model, x, 0.5)
    assert {name: set(gone) for name, gone in small.plan.removed.items()} == dead
    with torch.no_grad():
        torch.testing.assert_close(small.model(x), model(x))


def test_a_user_s_criterion_reads_the_weights_by_the_layers_names():
    model = network()
    masks.ln_structured(model[0][0], "weight", 0.5, n=1, dim=0)
    seen = {}

    def own(signals, units, *, generator):
        seen.update(signals.weights)
        members = {m.tensor: m.role for u in units for m in u.members}
        assert members["0.0.weight"] == "out"
        assert not any("mask" in name or "orig" in name for name in members)
        return {u.name: torch.arange(u.size).double() + 1 for u in units}

    isoprune.prune(model, x, 0.5, criterion=own)
    assert torch.equal(seen["0.0.weight"], model[0][0].weight)


@pytest.mark.parametrize("grain", ["weight", "filter", "kernel"])
def test_a_mask_over_a_mask_of_torch_is_refused_by_name(grain):
    model = network()
    masks.l1_unstructured(model[0][0], "weight", 0.5)
    with pytest.raises(IsopruneError, match=r"0\.0\.weight_mask is a mask of torch.*remove"):
        isoprune.prune(model, x, 0.5, grain=grain)
    masks.remove(model[0][0], "weight")
    assert isoprune.prune(model, x, 0.5, grain=grain).proof.relative_error < 1e-5


def test_signals_of_a_hooked_network_leave_it_as_it_is():
    model = network()
    masks.l1_unstructured(model[0][0], "weight", 0.5)
    weight_norm(model[0][2])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = [len(m._forward_pre_hooks) for m in model.modules()]
    signals = Signals(model, [(x, labels)])
    with torch.no_grad():
        torch.testing.assert_close(signals.forward(x), model(x))
    assert signals.gradients["0.0.weight"].shape == (16, 3, 3, 3)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert F.cross_entropy(model(x), labels).isfinite()
