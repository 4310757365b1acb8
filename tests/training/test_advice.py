"""How a learning rate is advised: what probes are, what they may read, and what they leave as it was."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import isoprune
from isoprune.methods.schedules import one_cycle
from isoprune.training import evaluate
from isoprune.types import IsopruneError, Splits
from isoprune.types.samples import Split, Subset
from isoprune.verbs.advise import SHARE, Probe, advise

from .small import fit, seeded, small_net, small_splits

module = importlib.import_module("isoprune.verbs.advise")  # the name is that of the function too

RATES = (0.01, 0.1, 1.0)
RECIPE = {"epochs": 20, "schedule": one_cycle(), "batch": 10, "rates": RATES}


class Unread:
    """Samples whose inputs cannot be read, and whose labels no network could have been trained with."""

    in_shape = (1, 2, 3)

    def __len__(self) -> int:
        return 9

    @property
    def targets(self) -> Tensor:
        return torch.full((9,), 99)

    def batches(self, *_: object, **__: object) -> Iterator[tuple[Tensor, Tensor]]:
        raise AssertionError("inputs were read")

    def to(self, *_: object) -> Unread:
        return self


class Watched(Split):
    """Samples that note which were read to be trained on (with seeds), and which to be measured."""

    def __init__(self, split: Split) -> None:
        super().__init__(split.inputs, split.targets)
        object.__setattr__(self, "trained", set())
        object.__setattr__(self, "judged", set())

    def batches(self, parts, *, seeds=None):
        into = self.judged if seeds is None else self.trained
        into.update(i for part in parts for i in part.tolist())
        return super().batches(parts, seeds=seeds)

    def to(self, *_):
        return self


def test_probes_train_on_nine_tenths_and_are_judged_on_the_tenth_and_read_nothing_else(monkeypatch):
    plain = small_splits(train=200)
    watched = Watched(plain.train)
    # Checks before a training look at one input of any split: here they would blur who read what.
    monkeypatch.setattr(module, "check_training", lambda *_, **__: None)
    monkeypatch.setattr(sys.modules["isoprune.training.fit"], "check_training", lambda *_, **__: None)
    found = advise(small_net(), Splits(watched, Unread(), Unread(), classes=3), **RECIPE)
    assert found.judge_samples == 20
    assert len(watched.judged) == 20
    assert watched.trained == set(range(200)) - watched.judged
    want = advise(small_net(), plain, **RECIPE)
    assert found == want


def test_checks_read_neither_validation_nor_test_data():
    train = small_splits(train=50).train
    advise(small_net(), Splits(train, Unread(), Unread(), classes=3), **RECIPE)


def test_held_out_samples_are_a_tenth_and_at_most_so_many(monkeypatch):
    monkeypatch.setattr(module, "MOST_JUDGED", 4)
    assert advise(small_net(), small_splits(train=200), **RECIPE).judge_samples == 4
    monkeypatch.undo()
    assert advise(small_net(), small_splits(train=24), **RECIPE).judge_samples == 2


def test_cut_leaves_no_batch_of_one_sample_which_batchnorm_cannot_be_trained_on():
    assert advise(small_net(), small_splits(train=23), **RECIPE).judge_samples == 3  # 21 = 2 x 10 + 1
    assert advise(small_net(), small_splits(train=4), **{**RECIPE, "batch": 2}).judge_samples == 2


def test_every_probe_is_a_fit_from_the_network_as_it_came():
    """Slow reference: each probe written out with `fit` on the cut that `seed` draws."""
    splits, net = small_splits(train=60), small_net()
    found = advise(net, splits, **RECIPE, seed=7)
    order = torch.randperm(60, generator=seeded(7))
    judge, rest = Subset(splits.train, order[:6]), Subset(splits.train, order[6:])
    steps = round(SHARE * 20 * 6)
    for probe in found.probes:
        _, history = fit(
            net,
            Splits(rest, judge, judge, 3),
            epochs=99,
            steps=steps,
            lr=probe.lr,
            schedule=one_cycle(),
            batch=10,
            generator=seeded(7),
        )
        assert probe == Probe(
            probe.lr, steps, history[-1]["validation_accuracy"], history[-1]["validation_loss"]
        )
    assert found.metric_before == evaluate(net, judge)["accuracy"]
    assert found.chance == judge.targets.bincount().max() / 6


def test_a_probe_takes_the_share_that_is_said():
    found = advise(small_net(), small_splits(train=60), **RECIPE, share=0.1)
    assert {probe.steps for probe in found.probes} == {round(0.1 * 20 * 6)}
    assert found.cost == pytest.approx(len(found.probes) * 12 / (len(found.rates) * 120))


def test_without_probes_the_middle_rate_is_advised_and_nothing_is_trained():
    net, splits = small_net(), small_splits(train=60)
    found = advise(net, splits, **RECIPE, share=0, on_probe=lambda _: pytest.fail("probed"))
    assert (found.lr, found.probes, found.cost) == (found.rates[len(found.rates) // 2], (), 0)
    # It learned something before if it is above the most frequent class.
    assert found.learns == (
        found.metric_before > found.chance + 2 * (found.chance * (1 - found.chance) / 6) ** 0.5
    )


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_below_nothing_or_more_than_all_is_refused(share):
    with pytest.raises(IsopruneError, match=r"share is .*, outside \[0, 1\]"):
        advise(small_net(), small_splits(train=60), **RECIPE, share=share)


@pytest.mark.parametrize("end", [0, 1, 2, 3])
def test_interrupted_advice_is_that_of_one_that_was_not(end):
    class Stop(Exception):
        pass

    kept: list[Probe] = []

    def keep(probe: Probe) -> None:
        if len(kept) == end:
            raise Stop
        kept.append(probe)

    splits = small_splits(train=60)
    want = advise(small_net(), splits, **RECIPE)
    if end < len(want.probes):
        with pytest.raises(Stop):
            advise(small_net(), splits, **RECIPE, on_probe=keep)
    else:
        advise(small_net(), splits, **RECIPE, on_probe=keep)
    assert set(kept) <= set(want.probes)
    new: list[Probe] = []
    assert advise(small_net(), splits, **RECIPE, done=kept, on_probe=new.append) == want
    assert sorted(kept + new, key=lambda p: p.lr) == list(want.probes)


def test_probes_of_another_length_are_not_taken_over():
    splits = small_splits(train=60)
    other = [Probe(lr, 1, 1.0, 0.0) for lr in RATES]
    assert advise(small_net(), splits, **RECIPE, done=other) == advise(small_net(), splits, **RECIPE)


def test_same_seed_same_advice_and_another_seed_holds_out_others():
    splits = small_splits(train=60)
    one, same, other = (advise(small_net(), splits, **RECIPE, seed=seed) for seed in (3, 3, 4))
    assert one == same
    assert one.probes != other.probes


def test_network_its_gradients_and_the_global_generator_stay_as_they_were():
    splits, net, twin = small_splits(train=60), small_net().train(), small_net()
    drawn = torch.get_rng_state()
    distill = {"weight": 0.5, "temperature": 2.0}
    advise(net, splits, **RECIPE, dense=twin, distill=distill)
    assert torch.equal(torch.get_rng_state(), drawn)
    for a, b in ((net, small_net()), (twin, small_net())):
        for key, tensor in b.state_dict().items():
            assert torch.equal(a.state_dict()[key], tensor)
        assert all(p.grad is None for p in a.parameters())
    assert all(m.training for m in net.modules())


def test_dense_network_is_learned_from():
    splits, net = small_splits(train=60), small_net()
    dense = copy.deepcopy(net)
    with torch.no_grad():
        dense[-1].bias.copy_(torch.tensor([0.0, 0.0, 50.0], dtype=torch.float64))
    recipe = {**RECIPE, "rates": (0.1,)}
    plain = advise(net, splits, **recipe)
    taught = advise(net, splits, **recipe, dense=dense, distill={"weight": 1.0, "temperature": 1.0})
    # The teacher says class 2 of everything, and only labels know better.
    assert taught.probes[0].loss > plain.probes[0].loss


@pytest.mark.parametrize(
    ("epochs", "steps", "total", "length"),
    [(20, None, 120, 29), (20, 100, 100, 24), (20, 1000, 120, 29), (2, None, 12, 8), (1, 3, 3, 3)],
)
def test_cost_is_the_steps_of_the_probes_over_those_of_full_trainings(epochs, steps, total, length):
    found = advise(small_net(), small_splits(train=60), **{**RECIPE, "epochs": epochs, "steps": steps})
    assert found.steps == total
    assert {p.steps for p in found.probes} == {length}
    assert found.cost == pytest.approx(sum(p.steps for p in found.probes) / (len(RATES) * total))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"epochs": 0},
            r"epochs = 0, steps = None: a training without a step needs no rate\. Give 1 or more",
        ),
        ({"steps": 0}, r"steps = 0: a training without a step"),
        ({"epochs": -1}, r"epochs is -1\. Give a whole number, 0 or more"),
        ({"batch": 0}, r"batch is 0\. Give a whole number, 1 or more"),
        ({"schedule": "cosin"}, r"Unknown schedule 'cosin'\. Did you mean 'cosine'"),
        ({"distill": {"weight": 0.5, "temperature": 1.0}}, r"distill and no network to learn from"),
        ({"distill": {"weight": 2.0, "temperature": 1.0}}, r"distill\.weight is 2\.0"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(changes, message):
    with pytest.raises(IsopruneError, match=message):
        advise(small_net(), small_splits(), **{**RECIPE, **changes})


def test_public_advice_takes_a_schedule_by_name():
    splits = small_splits(train=60)
    assert isoprune.advise is advise
    named = advise(small_net(), splits, **{**RECIPE, "schedule": "one_cycle"})
    assert named == advise(small_net(), splits, **RECIPE)


def test_part_is_the_samples_at_its_indices():
    split = small_splits(train=20).train
    indices = torch.tensor([7, 3, 19, 0, 3])
    part = Subset(split, indices)
    assert (len(part), part.in_shape) == (5, (1, 2, 3))
    assert torch.equal(part.targets, split.targets[indices])
    parts = [torch.tensor([4, 0]), torch.tensor([2])]
    got = list(part.to(torch.device("cpu")).batches(parts))
    for (inputs, targets), places in zip(got, parts, strict=True):
        assert torch.equal(inputs, split.inputs[indices[places]])
        assert torch.equal(targets, split.targets[indices[places]])


def test_part_of_a_part_and_augmentation_by_seed():
    plain = small_splits(train=20).train
    split = Split(
        plain.inputs, plain.targets, lambda x, g: x + torch.randn(x.shape, generator=g, dtype=x.dtype)
    )
    inner = Subset(Subset(split, torch.arange(10, 20)), torch.tensor([9, 1]))
    where = [torch.tensor([0, 1])]
    drawn, again, measured = (next(iter(inner.batches(where, seeds=s)))[0] for s in ([5], [5], None))
    assert torch.equal(measured, plain.inputs[[19, 11]])
    assert torch.equal(drawn, again)
    want = next(iter(split.batches([torch.tensor([19, 11])], seeds=[5])))[0]
    assert torch.equal(drawn, want)
