"""Networks as users have them: masked, parametrized, frozen, distributed; what comes back is a module."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as masks

from graph.small_networks import network, rows
from isoprune.pruning import NothingRemoved
from isoprune.verbs import prune
from pruning.oracle import difference


def build(first=None):
    return nn.Sequential(first or nn.Linear(7, 10), nn.ReLU(), nn.Linear(10, 5))


def test_a_masked_network_loses_channels_and_keeps_its_masks():
    model, x = network((build, rows))
    masks.l1_unstructured(model[0], "weight", 0.3)
    model(x)
    result = prune(model, x, 0.5)
    small = result.model[0]
    assert small.weight_orig.shape == small.weight_mask.shape == small.weight.shape == (5, 7)
    assert (small.in_features, small.out_features) == (7, 5)
    kept = [i for i in range(10) if i not in result.plan.removed["0"]]
    assert torch.equal(small.weight_mask, model[0].weight_mask[kept])
    plain = copy.deepcopy(result.model)
    masks.remove(plain[0], "weight")
    assert difference(result.model, plain, x) == 0
    assert not plain[0].weight[small.weight_mask == 0].any()


class Inverse(nn.Module):
    """A weight that is made by an operation without a rule."""

    def forward(self, weight):
        return torch.linalg.pinv(weight).T


def inverse(layer):
    nn.utils.parametrize.register_parametrization(layer, "weight", Inverse())
    return layer


def test_a_parametrization_of_operations_without_rules_is_refused_with_the_way_out():
    model, x = network((lambda: build(inverse(nn.Linear(7, 10))), rows))
    with pytest.raises(NothingRemoved, match=r"has no rule.*fold them first with .*remove_parametrizations"):
        prune(model, x, 0.5)
    nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    assert prune(model, x, 0.5).proof.relative_error < 1e-12


@pytest.mark.parametrize("way", ["householder", "cayley", "matrix_exp"])
def test_an_orthogonal_weight_loses_rows_of_its_base(way):
    def wrapped():
        return build(parametrizations.orthogonal(nn.Linear(7, 10), orthogonal_map=way))

    model, x = network((wrapped, rows))
    small = prune(model, x, 0.5)
    assert small.proof.relative_error < 1e-12
    weight = small.model[0].weight.detach()
    torch.testing.assert_close(weight, model[0].weight.detach()[small.plan.kept["0"]])


def test_frozen_weights_are_pruned_like_others():
    model, x = network((build, rows))
    want = prune(model, x, 0.5)
    model.requires_grad_(False)
    with torch.no_grad():
        got = prune(model, x, 0.5)
    assert got.plan.removed == want.plan.removed
    assert not any(p.requires_grad for p in got.model.parameters())


def test_what_comes_back_can_be_copied_and_its_state_loaded():
    model, x = network("lstm")
    small = prune(model, x, 0.5).model
    again = copy.deepcopy(small)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(x), small(x))
    assert not {p.data_ptr() for p in again.parameters()} & {p.data_ptr() for p in small.parameters()}


def test_it_trains_under_distributed_data_parallel(tmp_path):
    model, x = network((build, rows))
    small = prune(model, x, 0.5).model
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(small)
        wrapped(x).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(p.grad is not None for p in small.parameters())
