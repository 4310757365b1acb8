from __future__ import annotations

import copy
import math
import pickle
from statistics import fmean

import pytest
import torch
from torch import nn

from isoprune.methods.schedules import constant, one_cycle, step_decay
from isoprune.training import Diverged, evaluate
from isoprune.training.checkpoint import read
from isoprune.types import IsopruneError, Splits
from isoprune.types.samples import Split
from isoprune.verbs.retrain import retrain

from .small import fit, seeded, sgd_by_hand, small_net, small_splits

RECIPE = {
    "epochs": 4,
    "lr": 0.05,
    "schedule": step_decay(epochs=4, milestones=[2, 3], gamma=0.3),
    "batch": 5,
    "momentum": 0.8,
    "weight_decay": 0.02,
}


@pytest.mark.parametrize("batch", [1000, 23, 7, 6])
def test_fit_is_momentum_sgd_written_out(batch):
    """Slow reference; the last batch of an epoch may be short (23 = 3 x 7 + 2 = 3 x 6 + 5)."""
    splits, want = small_splits(), small_net()
    losses = sgd_by_hand(want, splits, **{**RECIPE, "batch": batch}, generator=seeded(3))
    got, history = fit(small_net(), splits, **{**RECIPE, "batch": batch}, generator=seeded(3))
    for key, tensor in want.state_dict().items():
        torch.testing.assert_close(got.state_dict()[key], tensor)
    steps = math.ceil(23 / batch)
    for row in history[1:]:
        first = (row["epoch"] - 1) * steps
        sizes = [min(batch, 23 - i * batch) for i in range(steps)]
        mean = sum(n * loss for n, loss in zip(sizes, losses[first : first + steps], strict=True)) / 23
        assert row["loss"] == pytest.approx(mean, rel=1e-12)
    assert [row["lr"] for row in history[1:]] == pytest.approx([0.05, 0.05, 0.015, 0.0045])


@pytest.mark.parametrize("steps", [1, 3, 5, 7, 20, 99])
def test_steps_end_the_training_early_and_the_schedule_with_it(steps):
    splits, want = small_splits(), small_net()
    schedule = one_cycle()
    recipe = {**RECIPE, "schedule": schedule, "steps": steps}  # an epoch has 5 steps, all have 20
    losses = sgd_by_hand(want, splits, **recipe, generator=seeded(3))
    got, history = fit(small_net(), splits, **recipe, generator=seeded(3))
    assert len(losses) == min(steps, 20)
    for key, tensor in want.state_dict().items():
        torch.testing.assert_close(got.state_dict()[key], tensor)
    assert history[-1]["epoch"] == len(history) - 1 == math.ceil(len(losses) / 5)
    last = len(losses) - 1
    assert history[-1]["lr"] == pytest.approx(0.05 * schedule(last / len(losses)))
    first = 5 * (last // 5)
    sizes = [5, 5, 5, 5, 3][: len(losses) - first]
    mean = sum(n * loss for n, loss in zip(sizes, losses[first:], strict=True)) / sum(sizes)
    assert history[-1]["loss"] == pytest.approx(mean, rel=1e-12)


def test_without_a_step_the_history_is_that_of_evaluate():
    splits = small_splits()
    net = small_net()
    net = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm1d)))
    got, history = fit(net, splits, **{**RECIPE, "lr": 0.0}, generator=seeded())
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    train, validation = evaluate(net, splits.train), evaluate(net, splits.validation)
    for row in history:
        assert row["validation_accuracy"] == validation["accuracy"]
        assert row["validation_loss"] == validation["loss"]
        assert row["seconds"] >= 0
    for row in history[1:]:
        assert row["train_accuracy"] == train["accuracy"]
        assert row["loss"] == pytest.approx(train["loss"], rel=1e-12)
    for a, b in zip(got.parameters(), net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_fit_leaves_its_inputs_and_torchs_generator_alone():
    splits, net = small_splits(), small_net()
    net[2].eval()
    net(splits.train.inputs).sum().backward()
    before, grads = copy.deepcopy(net.state_dict()), [p.grad.clone() for p in net.parameters()]
    data, rng = splits.train.inputs.clone(), torch.get_rng_state()
    got, _ = fit(net, splits, **RECIPE, generator=seeded())
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), grads, strict=True))
    assert (net.training, net[2].training) == (True, False)
    assert torch.equal(splits.train.inputs, data)
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(m.training for m in got.modules())
    assert type(got) is type(net)


def test_the_generator_alone_decides_and_moves_on():
    splits = small_splits()
    g = seeded(3)
    first, _ = fit(small_net(), splits, **RECIPE, generator=g)
    torch.rand(5)
    again, _ = fit(small_net(), splits, **RECIPE, generator=seeded(3))
    later, _ = fit(small_net(), splits, **RECIPE, generator=g)
    assert torch.equal(first[1].weight, again[1].weight)
    assert not torch.equal(first[1].weight, later[1].weight)


def test_measure_sees_every_state_in_eval_mode_and_joins_its_row():
    splits = small_splits()
    seen = []

    def measure(model: nn.Module) -> dict[str, float]:
        assert not any(m.training for m in model.modules())
        seen.append(model[1].weight.detach().clone())
        return {"norm": model[1].weight.norm().item()}

    rows = []

    def keep(row):
        rows.append(dict(row))
        row.clear()  # A row that the caller spoils is not the history's.

    net = small_net()
    got, history = fit(net, splits, **RECIPE, generator=seeded(), measure=measure, on_epoch=keep)
    assert rows == history
    assert [row["norm"] for row in history] == [w.norm().item() for w in seen]
    assert torch.equal(seen[0], net[1].weight)
    assert torch.equal(seen[-1], got[1].weight)
    assert len(seen) == RECIPE["epochs"] + 1


def test_no_epochs_give_a_copy_and_its_first_row():
    net, splits = small_net(), small_splits()
    got, history = fit(net, splits, **{**RECIPE, "epochs": 0}, generator=seeded())
    assert got is not net
    assert torch.equal(got[1].weight, net[1].weight)
    assert [row["epoch"] for row in history] == [0]
    assert history[0]["validation_loss"] == evaluate(net, splits.validation)["loss"]


def test_the_last_epoch_is_returned_not_the_best():
    splits = small_splits()
    up = step_decay(epochs=2, milestones=[1], gamma=1e3)
    got, history = fit(
        small_net(), splits, epochs=2, lr=0.1, schedule=up, batch=23, momentum=0.0, generator=seeded()
    )
    assert history[2]["validation_loss"] > history[1]["validation_loss"]
    assert evaluate(got, splits.validation)["loss"] == history[2]["validation_loss"]


def test_frozen_parameters_stay():
    net = small_net()
    net[1].weight.requires_grad_(False)
    got, _ = fit(net, small_splits(), **RECIPE, generator=seeded())
    assert torch.equal(got[1].weight, net[1].weight)
    assert not torch.equal(got[4].weight, net[4].weight)


def test_separable_classes_are_learned():
    targets = torch.arange(60) % 3
    inputs = torch.eye(3)[targets] + 0.1 * torch.randn(60, 3, generator=seeded())
    half = Split(inputs[:30], targets[:30]), Split(inputs[30:], targets[30:])
    trained = retrain(nn.Linear(3, 3), Splits(*half, half[1], classes=3), lr=0.5, epochs=9, batch=10)
    history = trained.history[-1]["rows"]
    assert history[-1]["validation_accuracy"] == history[-1]["train_accuracy"] == 1
    assert history[-1]["loss"] < history[1]["loss"]


def first_bad_step(net: nn.Module, splits: Splits, recipe, seed: int) -> tuple[int, int]:
    losses = sgd_by_hand(net, splits, **recipe, generator=seeded(seed))
    steps = math.ceil(len(splits.train) / recipe["batch"])
    bad = next(i for i, loss in enumerate(losses) if not math.isfinite(loss))
    return bad // steps + 1, bad % steps + 1


@pytest.mark.parametrize("epoch", [1, 3])
def test_divergence_is_named_by_epoch_step_and_rate(epoch, tmp_path):
    splits = small_splits(dtype=torch.float32)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.1)
    explodes = step_decay(epochs=4, milestones=[epoch - 1], gamma=1e12) if epoch > 1 else constant()
    recipe = {**RECIPE, "batch": 3, "schedule": explodes, "lr": 1e-2 if epoch > 1 else 1e10}
    want = first_bad_step(copy.deepcopy(net), splits, recipe, seed=3)
    assert want[0] == epoch
    path = tmp_path / "dense"
    with pytest.raises(Diverged, match=rf"at step {want[1]} of epoch {epoch}, .* Lower lr\.") as caught:
        fit(net, splits, **recipe, generator=seeded(3), checkpoint=path)
    error = caught.value
    assert (error.epoch, error.step, error.lr) == (*want, 1e10)
    # Across processes as it is here.
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.epoch, again.step, again.lr) == (str(error), *want, 1e10)
    kept = tmp_path / "dense.safetensors"
    assert f"The state after epoch {epoch - 1} is kept in {kept}" in str(error)
    tensors, facts = read(kept) or ({}, {})
    assert facts["history"][-1]["epoch"] == epoch - 1
    assert all(t.isfinite().all() for name, t in tensors.items() if name.startswith("model/"))


def test_weights_that_overflow_in_the_last_step_are_found_in_validation(tmp_path):
    splits = small_splits(dtype=torch.float32)
    recipe = {**RECIPE, "lr": 1e38, "batch": 23, "schedule": constant()}
    with pytest.raises(
        Diverged, match=r"The loss is \w+ in validation after epoch 1, at learning rate 1e\+38"
    ):
        fit(small_net(torch.float32), splits, **recipe, generator=seeded(), checkpoint=tmp_path / "x")
    tensors, _ = read(tmp_path / "x.safetensors") or ({}, {})
    assert torch.equal(tensors["model/1.weight"], small_net(torch.float32)[1].weight)


def test_a_network_of_nan_is_refused_before_the_first_step():
    net = small_net()
    with torch.no_grad():
        net[1].bias.fill_(torch.nan)
    with pytest.raises(Diverged, match="nan before the first step: network or data hold NaN") as caught:
        fit(net, small_splits(), **RECIPE, generator=seeded())
    assert caught.value.epoch == 0


def one_class() -> Splits:
    splits = small_splits()
    train = Split(splits.train.inputs, torch.zeros(23, dtype=torch.long))
    return Splits(train, splits.validation, splits.test, classes=3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"splits": one_class()}, "All 23 training samples are of one class"),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(6, 2).double())},
            "has 2 outputs .* has a class 2.*for 3",
        ),
        ({"epochs": -1}, "epochs is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"lr": -0.1}, "lr is -0.1"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(changes, why):
    arguments = {"model": small_net(), "splits": small_splits(), **RECIPE, **changes}
    model, splits = arguments.pop("model"), arguments.pop("splits")
    with pytest.raises(IsopruneError, match=why):
        fit(model, splits, **arguments, generator=seeded())


def test_retrain_is_fit_with_a_seed_and_a_named_schedule():
    splits = small_splits()
    recipe = {"lr": 0.05, "epochs": 6, "seed": 4, "batch": 5}
    by_name = retrain(small_net(), splits, **recipe, schedule="step_decay")
    by_hand, same = fit(
        small_net(),
        splits,
        epochs=6,
        lr=0.05,
        schedule=step_decay(epochs=6, milestones=[2, 4]),
        batch=5,
        generator=seeded(4),
    )
    assert torch.equal(by_name.model[1].weight, by_hand[1].weight)
    assert [row["loss"] for row in by_name.history[0]["rows"][1:]] == [row["loss"] for row in same[1:]]
    given = retrain(small_net(), splits, **recipe, schedule=step_decay(epochs=6))
    assert torch.equal(by_name.model[1].weight, given.model[1].weight)
    with pytest.raises(IsopruneError, match="Schedule 'halving': missing a required"):
        retrain(small_net(), splits, lr=0.05, epochs=6, schedule="halving")


def test_mean_loss_falls_over_training():
    _, history = fit(small_net(), small_splits(), **RECIPE, generator=seeded())
    losses = [row["loss"] for row in history[1:]]
    assert fmean(losses[2:]) < fmean(losses[:2])
