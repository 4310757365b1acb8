"""Every verb takes a Dataset, a split and a DataLoader alike, and unwraps what torch.compile wraps."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.types.samples import Split


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.fixture
def kinds():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 6, generator=generator), torch.arange(40) % 3
    given = TensorDataset(x, y)
    return {"loader": DataLoader(given, 100), "dataset": given, "split": Split(x, y), "list": [(x, y)]}


def same(a, b):
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_data_of_any_kind_gives_the_same_network_and_numbers(net, kinds):
    x = torch.zeros(2, 6)
    made = {}
    for name, data in kinds.items():
        small = isoprune.prune(net, x, ratio=0.5, criterion="taylor", batches=data)
        mended = isoprune.repair(small, method="reconstruct", batches=data)
        found = isoprune.diagnose(small, data, repairs=["balance"])
        trained = isoprune.retrain(small, train=data, validation=data, lr=0.01, epochs=1, batch=None)
        path = isoprune.error_path(small, trained, data, points=2, batches=data)
        made[name] = (small, mended, found, path)
    small, mended, found, path = made.pop("list")
    for other in made.values():
        assert same(other[0], small)
        assert same(other[1], mended)
        assert other[2].numbers == pytest.approx(found.numbers)
        assert other[3].errors[0] == path.errors[0]


def test_what_torch_compile_wraps_is_taken_out_in_every_verb(net, kinds, tmp_path):
    wrapped, x, data = torch.compile(net, backend="eager"), torch.zeros(2, 6), kinds["loader"]
    small, want = isoprune.prune(wrapped, x, ratio=0.5), isoprune.prune(net, x, ratio=0.5)
    assert type(small.model) is nn.Sequential
    assert same(small, want)
    again = torch.compile(small.model, backend="eager")
    numbers = isoprune.diagnose(again, data, wrapped, repairs=()).numbers
    assert numbers == isoprune.diagnose(small.model, data, net, repairs=()).numbers
    assert same(
        isoprune.repair(again, method="lsuv", batches=data),
        isoprune.repair(small, method="lsuv", batches=data),
    )
    trained = isoprune.retrain(again, train=data, lr=0.01, epochs=1)
    assert type(trained.model) is nn.Sequential
    isoprune.save(again, tmp_path / "small")
    assert isoprune.trace(wrapped, x).groups
    assert isoprune.error_path(again, small, data, points=2).barrier == 0
    assert isoprune.eigendamage(wrapped, x, ratio=0.8, batches=data).costs.pruned.parameters
    assert isoprune.jacobian_singular_values(again, x).shape == (2, 3)
    assert isoprune.latency({"compiled": again, "plain": small.model}, x, backends=["eager"]).as_rows()
    advice = isoprune.advise(again, train=kinds["dataset"], epochs=1, rates=(0.01, 0.1))
    assert advice.lr in (0.01, 0.1)


def by_criterion(name):
    return lambda net, data: isoprune.prune(
        net, torch.zeros(2, 6), ratio=0.5, criterion=name, batches=data(), grain="weight"
    )


def by_chain(net, data):
    small = isoprune.prune(net, torch.zeros(2, 6), ratio=0.5)
    return isoprune.repair(small, ["reconstruct", "balance", "reconstruct"], batches=data())


@pytest.mark.parametrize("make", [*map(by_criterion, ["grasp", "obd", "signal_propagation"]), by_chain])
def test_what_can_be_read_only_once_is_as_good_as_a_list(net, kinds, make):
    batches = [(x[None], y[None]) for x, y in zip(*kinds["list"][0], strict=True)][:20]
    assert same(make(net, lambda: iter(batches)), make(net, lambda: batches))


def test_of_endless_data_no_more_is_read_than_is_needed(net, kinds):
    """What was read are the data; a fault here never ends."""
    batches, read = kinds["list"], []

    def endless():
        for batch in itertools.cycle(batches):
            read.append(batch)
            yield batch

    x, names = torch.zeros(2, 6), ["jsv", "gradient_norm"]
    assert same(isoprune.prune(net, x, ratio=0.5, batches=endless()), isoprune.prune(net, x, ratio=0.5))
    assert not read
    small = isoprune.prune(net, x, ratio=0.5)
    found = isoprune.measures(small, endless(), names=names)
    assert found.numbers == isoprune.measures(small, read[:], names=names).numbers
    path = isoprune.error_path(small, small, batches, points=3, batches=endless(), samples=40)
    assert path.errors == isoprune.error_path(small, small, batches, points=3, batches=batches).errors
