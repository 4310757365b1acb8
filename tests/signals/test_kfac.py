"""K-FAC factors against their definition, by loops over samples."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.signals import Signals
from isoprune.types import IsopruneError
from signals.nets import drawn, losses, rows


def test_the_factors_of_a_linear_layer_are_the_second_moments_of_inputs_and_gradients():
    net, batches, task = drawn("mlp")
    found = Signals(net, batches, task).kfac_factors(fisher_type="empirical")
    assert set(found) == {"0", "3"}
    net.eval()
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    h = net[:3](x)
    slopes = torch.softmax(net[3](h), 1) - F.one_hot(y, 3)  # of cross-entropy by the logits, each sample
    torch.testing.assert_close(found["3"].inputs, (h.T @ h / len(x)).detach())
    torch.testing.assert_close(found["3"].gradients, (slopes.T @ slopes / len(x)).detach())


def test_for_one_sample_the_product_of_factors_is_its_block_of_the_fisher_matrix():
    _, batches, task = drawn("convolutional")
    batches = [tuple(t[:1] for t in batches[0])]
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3).double())
    found = Signals(net, batches, task).kfac_factors(fisher_type="empirical")["1"]
    G = rows(losses(net, batches, task), [net[1].weight]).detach()
    torch.testing.assert_close(torch.kron(found.gradients, found.inputs), G.T @ G)


def test_exact_factors_need_no_labels_and_leave_gradients_alone():
    net, batches, task = drawn("convolutional")
    found = Signals(net, batches, task).kfac_factors(fisher_type="type-2")
    other = [(x, (y + 1) % 3) for x, y in batches]
    again = Signals(net, other, task).kfac_factors(fisher_type="type-2")
    for layer in found:
        torch.testing.assert_close(found[layer].gradients, again[layer].gradients)
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_without_curvlinops_it_is_refused_by_name(monkeypatch):
    net, batches, task = drawn("mlp")
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(IsopruneError, match=r"isoprune\[curvature\]"):
        Signals(net, batches, task).kfac_factors()


def test_another_task_must_name_its_loss():
    net, batches, task = drawn("pair")
    with pytest.raises(IsopruneError, match="K-FAC factors of the task 'pair'"):
        Signals(net, batches, task).kfac_factors()
