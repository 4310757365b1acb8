"""Parameters and buffers held constant: the copies are run on, and everything comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoprune.isometry import jacobian_singular_values
from isoprune.isometry.function import replaced_tensors


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3)).eval()
    net[3].weight = net[0].weight
    return net


def tensors(net):
    return [t for m in net.modules() for own in (m._parameters, m._buffers) for t in own.values()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_runs_on_copies_and_gets_its_own_tensors_back(fails):
    net = tied()
    before, values = tensors(net), [None if t is None else t.clone() for t in tensors(net)]
    try:
        with replaced_tensors(net, lambda t: t.detach() * 2) as copies:
            assert len(copies) == len({id(t) for t in before})  # a tied weight is copied once
            assert net[3].weight is net[0].weight
            torch.testing.assert_close(net[0].weight, 2 * values[0])
            net[1].running_mean.add_(1)
            if fails:
                raise KeyError("in the forward")
    except KeyError:
        assert fails
    assert all(a is b for a, b in zip(tensors(net), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, values, strict=True) if a is not None)


def test_a_wrapped_network_is_measured_as_what_it_wraps():
    net, x = nn.Sequential(nn.Linear(3, 3)).eval(), torch.randn(2, 3)
    wrapped = jacobian_singular_values(nn.DataParallel(net).eval(), x)
    assert torch.equal(wrapped, jacobian_singular_values(net, x))
