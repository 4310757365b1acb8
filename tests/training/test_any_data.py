"""Data of every kind: what it is read as, in which order it comes, and that a training on it goes on."""

from __future__ import annotations

import logging
import random

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import isoprune
from isoprune.methods.schedules import constant
from isoprune.training import evaluate
from isoprune.training.source import source_of
from isoprune.types import Data, IsopruneError
from isoprune.verbs.advise import advise
from isoprune.verbs.retrain import retrain

from .small import fit, seeded, small_net, small_splits

RECIPE = {"epochs": 3, "lr": 0.05, "schedule": constant(), "batch": 5}


def tensors(count: int = 23) -> TensorDataset:
    split = small_splits(count).train
    return TensorDataset(split.inputs, split.targets)


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def same(a, b) -> bool:
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in one.history] for one in (a, b)]
    states = [one.model.state_dict() for one in (a, b)]
    return rows[0] == rows[1] and all(torch.equal(t, states[1][k]) for k, t in states[0].items())


def test_a_dataset_a_loader_over_it_and_samples_train_to_the_same_bits():
    splits = small_splits()
    want = fit(small_net(), splits, **RECIPE, generator=seeded(3))
    for train in (tensors(), DataLoader(tensors(), 5, shuffle=True), splits.train):
        for validation in (splits.validation, DataLoader(splits.validation, 9)):
            recipe = {**RECIPE, "batch": None if isinstance(train, DataLoader) else 5}
            got = fit(small_net(), Data(train, validation), **recipe, generator=seeded(3))
            assert same(got, want)


def test_a_loader_that_does_not_shuffle_comes_in_its_order_and_one_that_drops_the_last_drops_it():
    source = source_of(DataLoader(tensors(), 5, drop_last=True))
    assert source.steps == 4
    assert source.order(seeded()).tolist() == list(range(20))
    assert sorted(source_of(DataLoader(tensors(), 5, shuffle=True)).order(seeded()).tolist()) == list(
        range(23)
    )


def test_a_list_of_batches_is_shuffled_whole():
    batches = [(x[None], y[None]) for x, y in small_splits(6).train]
    _, history = fit(
        small_net()[:2].append(nn.Linear(5, 3).double()), Data(batches), **RECIPE, generator=seeded()
    )
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert not any(key.startswith("validation") for row in history for key in row)


class Drawing(Dataset):
    """Draws from every generator that a Dataset may use."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        noise = torch.rand(6) + random.random() + numpy.random.rand()
        return noise.view(1, 2, 3) + place % 3, place % 3


def test_what_a_dataset_draws_depends_on_the_step_alone_and_no_generator_moves():
    net = small_net(torch.float32)
    states = torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    runs = [fit(net, Data(Drawing()), **RECIPE, generator=seeded()) for _ in range(2)]
    assert same(*runs)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert numpy.random.get_state()[1].tolist() == states[1]
    parts = torch.arange(12).split(5)
    source = source_of(Drawing())
    alone, among = (
        list(source.items.batches(which, seeds=seeds))[-1][0]
        for which, seeds in ((parts[1:2], [8]), (parts[:2], [7, 8]))
    )
    assert torch.equal(alone, among)


def test_workers_change_no_bit():
    parts, seeds = torch.arange(12).split(5), [1, 2, 3]
    one, two = (
        list(source_of(DataLoader(Drawing(), 5, num_workers=n)).items.batches(parts, seeds=seeds))
        for n in (0, 2)
    )
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a[0], b[0])


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad", "lion"])
def test_killed_within_an_epoch_of_a_dataset_the_bits_are_the_same(tmp_path, optimizer):
    recipe = {**RECIPE, "optimizer": OPTIMIZERS.get(optimizer, optimizer)}
    data = Data(Drawing(), small_splits(dtype=torch.float32).validation)
    want = fit(small_net(torch.float32), data, **recipe, generator=seeded())
    for passes in (4, 5):  # in the third step of the first epoch, and of the second
        net = Dying(small_net(torch.float32), passes)
        with pytest.raises(Killed):
            fit(net, data, **recipe, generator=seeded(), checkpoint=tmp_path / "x", save_steps=1)
    net = Dying(small_net(torch.float32), 10_000)
    got = fit(net, data, **recipe, generator=seeded(), checkpoint=tmp_path / "x", save_steps=1)
    assert same(got._replace(model=got.model.net), want)


class Dying(nn.Module):
    """Dies in the forward pass of a step."""

    def __init__(self, net: nn.Module, after: int) -> None:
        super().__init__()
        self.net, self.left = net, after

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if not self.left:
            raise Killed
        return self.net(x)


class Lion(torch.optim.Optimizer):
    """Keeps a tensor and a number for each parameter."""

    def __init__(self, parameters) -> None:
        super().__init__(parameters, {"lr": 1e-3})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                mean = state.setdefault("mean", torch.zeros_like(p))
                state["steps"] = state.get("steps", 0) + 1
                p.sub_(mean.lerp(p.grad, 0.1).sign(), alpha=group["lr"] / state["steps"])
                mean.lerp_(p.grad, 0.01)


OPTIMIZERS = {"lion": Lion, "adagrad": torch.optim.Adagrad}


def test_a_momentum_of_adamw_may_be_a_whole_number():
    whole, real = (
        isoprune.retrain(small_net(), small_splits(), lr=1e-3, epochs=1, optimizer="adamw", momentum=number)
        for number in (0, 0.0)
    )
    for a, b in zip(whole.model.parameters(), real.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_adamw_is_torchs_written_out():
    splits, want = small_splits(), small_net().train()
    got, _ = fit(
        *(small_net(), splits),
        **{**RECIPE, "optimizer": "adamw", "weight_decay": 0.1, "momentum": 0.8},
        generator=seeded(3),
    )
    optimizer = torch.optim.AdamW(want.parameters(), lr=0.05, betas=(0.8, 0.999), weight_decay=0.1)
    g = seeded(3)
    for _ in range(3):
        for rows in torch.randperm(23, generator=g).split(5):
            loss = nn.functional.cross_entropy(want(splits.train.inputs[rows]), splits.train.targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for key, tensor in want.state_dict().items():
        torch.testing.assert_close(got.state_dict()[key], tensor)


def test_groups_of_an_optimizer_of_ones_own_keep_their_share_of_the_rate():
    def grouped(parameters):
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.0}, {"params": rest}], lr=0.5)

    net = small_net()
    got, _ = fit(net, small_splits(), **RECIPE, optimizer=grouped, generator=seeded())
    assert torch.equal(got[1].weight, net[1].weight)
    assert not torch.equal(got[4].weight, net[4].weight)


def test_a_state_that_is_no_tensor_and_no_number_is_refused_where_it_would_be_written(tmp_path):
    class Odd(Lion):
        def step(self):
            super().step()
            for state in self.state.values():
                state["past"] = [1]

    recipe = {**RECIPE, "optimizer": Odd, "checkpoint": tmp_path / "x"}
    with pytest.raises(IsopruneError, match=r"Odd keeps past, a list, which a checkpoint cannot hold"):
        fit(small_net(), small_splits(), **recipe, generator=seeded())


class Yielding(IterableDataset):
    def __iter__(self):
        return iter(tensors())


@pytest.mark.parametrize("make", [
    lambda: DataLoader(Yielding(), 5),
    lambda: DataLoader(tensors(), 5, sampler=WeightedRandomSampler([1.0] * 23, 23)),
    lambda: DataLoader(tensors(), batch_sampler=[[0, 1, 2], [3, 4, 5, 6]]),
])  # fmt: skip
def test_a_loader_that_only_yields_trains_and_says_once_what_it_cannot_promise(make, caplog):
    net, state = small_net(), torch.get_rng_state()
    with caplog.at_level(logging.WARNING, logger="isoprune"):
        _, history = fit(net, Data(make()), **{**RECIPE, "batch": None}, generator=seeded())
    assert len(history) == 4
    assert history[-1]["loss"] < history[1]["loss"]
    assert caplog.text.count("loader without places of its samples") == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loader_that_only_yields_goes_on_from_its_last_whole_epoch(tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    how = {**RECIPE, "batch": None, "checkpoint": tmp_path / "x", "save_steps": 1}
    with pytest.raises(Killed):
        fit(small_net(), Data(DataLoader(Yielding(), 5)), **how, generator=seeded(), on_epoch=kill)
    rows = []
    got = fit(small_net(), Data(DataLoader(Yielding(), 5)), **how, generator=seeded(), on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [3]
    want = fit(small_net(), Data(DataLoader(Yielding(), 5)), **{**RECIPE, "batch": None}, generator=seeded())
    assert same(got, want)


class Short:
    def __len__(self) -> int:
        return 9

    def __iter__(self):
        return iter([tensors()[:4]])


@pytest.mark.parametrize(
    ("train", "changes", "why"),
    [
        (Short(), {}, "gave 1 batches where 9 were due"),
        (iter([]), {}, "A list_iterator is no data that can be read epoch after epoch"),
        (7, {}, "A int is no data"),
        ([], {}, "holds no sample"),
        (DataLoader(tensors(), 4), {}, "batch is 5 and the DataLoader's 4"),
        (DataLoader(tensors(3), 5, drop_last=True), {}, "3 samples, fewer than one batch of 5"),
        ([tensors()[:4]], {"accumulate": 2}, "accumulate cuts a batch into parts"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_in_words(train, changes, why):
    from isoprune.training import Loop

    with pytest.raises(IsopruneError, match=why):
        fit(small_net(), Data(train), **RECIPE, loop=Loop(**changes), generator=seeded())


def test_evaluation_is_that_of_the_samples_however_they_come():
    split, net = small_splits().train, small_net()
    want = evaluate(net, split, batch=5)
    for data in (tensors(), DataLoader(tensors(), 5), [tensors()[i : i + 5] for i in range(0, 23, 5)],
                 DataLoader(Yielding(), 5)):  # fmt: skip
        assert evaluate(net, data, batch=None if isinstance(data, DataLoader) else 5) == pytest.approx(want)


def test_advice_on_a_dataset_is_that_on_the_samples_and_retraining_follows_it():
    splits = small_splits(60)
    how = {"epochs": 4, "seed": 2}
    got = retrain(
        small_net(), train=DataLoader(tensors(60), 10, shuffle=True), validation=splits.validation, **how
    )
    want = retrain(small_net(), splits, **how, batch=10)
    [entry], [other] = got.history, want.history
    probes = [[{**p, "seconds": 0} for p in found["advice"]["probes"]] for found in (entry, other)]
    assert probes[0] == probes[1]
    assert entry["lr"] == other["lr"]
    assert got.dense is got.model
    with pytest.raises(IsopruneError, match=r"holds out a part .* Give a map-style Dataset, or a rate"):
        retrain(small_net(), train=DataLoader(Yielding(), 5))
    with pytest.raises(IsopruneError, match="nothing to train on"):
        retrain(small_net())
    with pytest.raises(IsopruneError, match="nothing to train on"):
        advise(small_net(), epochs=1)
