"""Signal propagation: SNIP of the nearest isometries, whatever the size of a layer's weights."""

from __future__ import annotations

import copy

import pytest
import torch

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from methods.criteria.test_values import scored


@pytest.mark.parametrize("grain", ["channel", "filter", "weight"])
def test_it_is_snip_of_the_network_with_u_v_in_the_place_of_its_matrices(grain):
    model, x = network("flattened")
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name in ("0", "5", "7"):
            W = made.get_submodule(name).weight
            U, _, Vh = torch.linalg.svd(W.flatten(1), full_matrices=False)
            W.copy_(2**0.5 * (U @ Vh).reshape(W.shape))
    units = units_of(trace(model, x), grain)
    got, want = scored("signal_propagation", model, units, x), scored("snip", made, units, x)
    torch.testing.assert_close(got, want)


def test_it_does_not_depend_on_the_size_of_a_layer_and_snip_does():
    model, x = network("mlp")
    units = units_of(trace(model, x), "weight")
    before = [scored(name, model, units, x) for name in ("signal_propagation", "snip")]
    with torch.no_grad():
        model[2].weight.mul_(10)
    after = [scored(name, model, units, x) for name in ("signal_propagation", "snip")]
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1]["0.weight"], after[1]["0.weight"], rtol=0.1)


def test_the_gain_is_that_of_every_layer():
    model, x = network("mlp")
    units = units_of(trace(model, x), "weight")
    data = Signals(model, [(x, torch.arange(len(x)))])
    one, usual = (
        scores_of("signal_propagation", data, units, generator=torch.Generator(), gain=gain)
        for gain in (2**0.5, None)
    )
    torch.testing.assert_close(one, usual)  # it has ReLUs
