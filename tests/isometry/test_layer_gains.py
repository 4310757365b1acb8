"""Gains of layers: they multiply to the network's, and see through shortcuts and in-place modules."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from isometry_networks import Block, make
from torch import nn

from isoprune.isometry import filter_spectrum, jacobian_singular_values, layer_gains

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_backward_gains_of_a_chain_multiply_to_the_rms_singular_value(name):
    model, x = make(name, samples=4)
    gains = layer_gains(model, x)
    assert [g.name for g in gains] == [n for n, _ in model.named_modules() if n]
    rms = jacobian_singular_values(model, x).square().mean().sqrt().item()
    assert math.prod(g.backward for g in gains) == pytest.approx(rms, rel=1e-10)
    assert gains[0].reaches == pytest.approx(rms, rel=1e-10)
    for before, after in pairwise(gains):
        assert before.reaches == pytest.approx(before.backward * after.reaches, rel=1e-10)


def test_gain_of_a_linear_layer_is_that_of_its_matrix():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 3, bias=False)).double().eval()
    x = torch.randn(5, 6).double()
    first, last = layer_gains(model, x)
    assert last.backward == pytest.approx(filter_spectrum(model[1].weight).square().mean().sqrt().item())
    h = x @ model[0].weight.mT
    assert first.forward == pytest.approx((h.norm() / x.norm()).item())
    product = model[1].weight @ model[0].weight
    assert first.backward == pytest.approx((product.norm() / model[1].weight.norm()).item())


def test_orthonormal_filters_pass_the_gradient_whole():
    model = nn.Sequential(nn.Linear(9, 6), nn.Linear(6, 4)).eval()
    for layer in model:
        nn.init.orthogonal_(layer.weight)
    assert [g.backward for g in layer_gains(model, torch.randn(2, 9))] == pytest.approx([1, 1])


def test_in_place_modules_and_shortcuts_do_not_mix_up_gains(monkeypatch):
    monkeypatch.setattr("isoprune.isometry.layers._EXACT_OUTPUTS", 75)
    torch.manual_seed(0)
    block = Block(3, 3, 1).double().eval()
    x = torch.randn(2, 3, 5, 5).double()
    gains = {g.name: g for g in layer_gains(block, x)}
    assert list(gains) == ["short", "conv1", "bn1", "relu", "conv2", "bn2", "relu#2"]
    # An identity shortcut passes everything whatever runs beside it; a ReLU passes what its mask lets
    # through.
    assert gains["short"].backward == pytest.approx(1)
    assert gains["short"].forward == pytest.approx(1)
    passed = (block(x) > 0).double().mean().item()
    assert gains["relu#2"].backward == pytest.approx(math.sqrt(passed))


def test_many_outputs_are_sampled_by_orthonormal_directions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 50, bias=False), nn.Linear(50, 40, bias=False)).double().eval()
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.eye(*layer.weight.shape) * 3)
    x = torch.randn(2, 50).double()
    assert [g.backward for g in layer_gains(model, x)] == pytest.approx([3, 3])  # whatever the directions
    assert layer_gains(model, x, seed=1) == layer_gains(model, x, seed=1)


def test_dead_layer_has_gain_zero_and_the_model_is_left_alone():
    model, x = make("mlp")
    model[3].weight.data.zero_()
    model[3].bias.data.fill_(-1)
    gains = {g.name: g for g in layer_gains(model, x)}
    assert gains["4"].backward == 0
    assert gains["1"].backward == 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_filter_spectrum_of_half_precision_is_computed_in_float32():
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    got = filter_spectrum(weight)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.linalg.svdvals(weight.float().flatten(1)))


@pytest.mark.parametrize("name", ["lenet", "residual", "vit"])
def test_gains_are_equal_for_any_bound_on_memory(name):
    model, x = make(name, samples=5)
    for whole, parts in zip(layer_gains(model, x), layer_gains(model, x, memory=1), strict=True):
        assert (parts.name, parts.kind) == (whole.name, whole.kind)
        assert (parts.forward, parts.backward, parts.reaches) == pytest.approx(
            (whole.forward, whole.backward, whole.reaches), rel=1e-10
        )


def test_a_single_layer_has_no_layers_to_tell_apart():
    assert layer_gains(nn.Linear(4, 3).eval(), torch.randn(2, 4)) == []
