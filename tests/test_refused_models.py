"""Networks and batches that nothing can be made of: a line that says what to do, never empty numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import isoprune
from isoprune.types import IsopruneError

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NAN = torch.full_like(X, torch.nan)
LABELS = torch.arange(4)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, 4))
    return nn.Sequential(*layers, *head).eval()


def pruned(model: nn.Module | None = None, inputs: Tensor = X) -> Any:
    return isoprune.prune(net() if model is None else model, inputs, ratio=0.5)


def batches(*sizes: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    return [(X[:n].to(dtype), LABELS[:n]) for n in sizes]


def retrain(network: Any, train: Any, **options: Any) -> Any:
    return isoprune.retrain(network, train=train, validation=batches(4), lr=0.01, epochs=1, **options)


@pytest.mark.parametrize("sizes", [(4, 1), (1,), (1, 4)])
def test_a_batch_of_one_where_batchnorm_trains(sizes):
    with pytest.raises(IsopruneError, match=r"batch of one sample .* drop_last=True"):
        retrain(pruned(), batches(*sizes))


def test_a_frozen_network_is_pruned_and_not_trained():
    network = pruned(net().requires_grad_(False))
    with pytest.raises(IsopruneError, match=r"Every parameter .* is frozen .*requires_grad_\(True\)"):
        retrain(network, batches(4))
    some = pruned()
    some.model[0].requires_grad_(False)
    before = some.model[0].weight.clone()
    after = retrain(some, batches(4))
    assert torch.equal(after.model[0].weight, before)
    assert not torch.equal(after.model[-1].weight, some.model[-1].weight)


@pytest.mark.parametrize("train", [torch.float32, torch.float64])
def test_inputs_of_another_type_than_the_weights(train):
    with pytest.raises(IsopruneError, match="of another type than the weights"):
        retrain(pruned(net().half(), X.half()), batches(4, dtype=train))


@pytest.mark.parametrize("method", ["batchnorm", "auto", "reconstruct", "data_dependent", "lsuv", "rescale"])
@pytest.mark.parametrize("which", ["all", "one"])
def test_batches_that_are_no_numbers_repair_nothing(method, which):
    many = [(X + step, LABELS) for step in range(8)]
    bad = [(NAN, LABELS)] * 8 if which == "all" else [*many[:-1], (NAN, LABELS)]
    network = pruned()
    before = {name: t.clone() for name, t in network.model.state_dict().items()}
    if method == "rescale":  # It looks at a few of them only.
        bad = bad[-1:]
    with pytest.raises(IsopruneError, match="NaN or infinit"):
        isoprune.repair(network, method, batches=bad)
    assert all(torch.equal(t, before[name]) for name, t in network.model.state_dict().items())


@pytest.mark.parametrize("seed", [2**63, 2**70, -1])
def test_seeds_that_torch_does_not_take(seed):
    match = "outside 0 to 2"
    with pytest.raises(IsopruneError, match=match):
        retrain(pruned(), batches(4), seed=seed)
    with pytest.raises(IsopruneError, match=match):
        isoprune.repair(pruned(), "scratch", seed=seed)
    with pytest.raises(IsopruneError, match=match):
        isoprune.diagnose(pruned(), [(X, LABELS)], seed=seed)
