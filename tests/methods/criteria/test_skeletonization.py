"""`skeletonization` against gates on what units make, moved by finite differences."""

from __future__ import annotations

import pytest
import torch

from graph.small_networks import network
from isoprune.graph import trace
from methods.criteria.test_values import CASES, EPS, loss, of_one_tensor, places, scored, slope

READERS = {"mlp": ("0", ["2"]), "residual": ("stem", ["a", "b", "inner", "head"]), "flattened": ("0", ["5"])}


def gated_loss(model, x, readers, channel, alpha):
    """Return the loss with a gate on one channel wherever it is read, after norm and activation."""

    def gate(module, args):
        read = args[0].clone()
        # Of a flattened map each channel is as many neighbours as a filter of the reader has inputs more.
        every = read.shape[1] // (model[0].out_channels if readers == ["5"] else read.shape[1])
        read[:, channel * every : (channel + 1) * every] *= alpha
        return (read,)

    hooks = [model.get_submodule(name).register_forward_pre_hook(gate) for name in readers]
    try:
        with torch.no_grad():
            return loss(model, x)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("net", ["mlp", "flattened"])
def test_a_channel_s_relevance_is_minus_the_slope_of_a_gate_where_it_is_read(net):
    model, x = network(net)
    name, readers = READERS[net]
    got = scored("skeletonization", model, trace(model, x).groups, x)[name]
    for i, score in enumerate(got.tolist()):
        up, down = (gated_loss(model, x, readers, i, 1 + sign * EPS) for sign in (1, -1))
        assert score == pytest.approx(-float(up - down) / (2 * EPS), rel=1e-5, abs=1e-9)


def test_a_channel_that_several_layers_read_is_gated_in_all_of_them():
    model, x = network("tied")
    got = scored("skeletonization", model, trace(model, x).groups, x)["up"]
    for i, score in enumerate(got.tolist()):
        up, down = (gated_loss(model, x, ["both", "head"], i, 1 + sign * EPS) for sign in (1, -1))
        assert score == pytest.approx(-float(up - down) / (2 * EPS), rel=1e-5, abs=1e-9)


@CASES
def test_units_of_one_tensor_have_the_gate_on_their_own_weights(net, tensor, grain):
    model, x, units = of_one_tensor(net, grain, tensor)
    W = model.get_parameter(tensor).detach()
    want = torch.stack([-slope(model, tensor, W * own, x) for own in places(units[0], W.shape)])
    got = scored("skeletonization", model, units, x)[tensor]
    torch.testing.assert_close(got.flatten(), want, rtol=1e-5, atol=1e-9)
