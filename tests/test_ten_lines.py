"""The library in ten lines: the names and shapes that users call, on one small network from end to end."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.pruning.mask import masks_of


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def story():
    torch.manual_seed(0)
    model, x = make_model(), torch.randn(240, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long() + 2 * (x[:, 0, :4].mean((1, 2)) > 0).long()
    train = DataLoader(TensorDataset(x[:200], y[:200]), batch_size=20, shuffle=True)
    return model, x, train, DataLoader(TensorDataset(x[200:], y[200:]), batch_size=20)


def test_the_way_from_a_network_to_a_saved_one(story, tmp_path):
    model, x, train, validation = story
    before = {name: t.clone() for name, t in model.state_dict().items()}
    small = isoprune.prune(model, x[:2], ratio=0.5)
    assert isinstance(small, isoprune.Pruned)
    assert small.costs.ratios["filters"] == 0.5
    assert small.proof.relative_error < 1e-4
    assert [(f.tensor, f.reason) for f in small.graph.frozen] == [("7.weight", "the network's output")]
    small = isoprune.repair(small, batches=train)
    small = isoprune.retrain(
        small, train=train, validation=validation, lr="auto", epochs=2, schedule="one_cycle"
    )
    retrained = {name: t.clone() for name, t in small.model.state_dict().items()}
    once, small = small, isoprune.prune(small, ratio=0.3)
    assert [entry["step"] for entry in small.history] == ["prune", "repair", "retrain", "prune"]
    assert all(set(gone) <= set(small.plan.removed[name]) for name, gone in once.plan.removed.items())
    assert isoprune.verify(small).relative_error < 1e-4
    isoprune.save(small, tmp_path / "small")
    back = isoprune.load(tmp_path / "small", build=make_model)
    assert torch.equal(back(x), small.model(x))
    isoprune.save(once, tmp_path / "once")
    saved = isoprune.load(tmp_path / "once", build=make_model).state_dict()
    assert all(torch.equal(saved[name], t) for name, t in retrained.items())  # what was retrained
    done = isoprune.export_onnx(small, tmp_path / "small.onnx")
    assert done["relative_error"] < 1e-4
    assert isoprune.jacobian_singular_values(small, x[:5]).shape == (5, 4)
    assert isoprune.diagnose(small, train, repairs=()).verdict
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_single_weights_by_a_criterion_on_data(story):
    model, x, train, validation = story
    masked = isoprune.prune(model, x[:2], ratio=0.9, criterion="snip", grain="weight", batches=train)
    held = masks_of(masked.model)
    masked = isoprune.repair(masked, batches=train)
    masked = isoprune.retrain(masked, train=train, validation=validation, lr=0.01, epochs=2)
    for name, kept in held.items():
        owner, _, key = name.rpartition(".")
        assert not getattr(masked.model.get_submodule(owner), key)[~kept].any()
    assert isoprune.verify(masked).max_abs_error == 0
    assert isoprune.jacobian_singular_values(masked, x[:5]).shape == (5, 4)


def test_a_task_of_the_users_own(story):
    model, x, train, validation = story
    task = isoprune.Task(
        inputs=lambda batch: batch["u"],
        loss=lambda outputs, batch: cross_entropy(outputs, batch["v"]),
        metrics={"right": lambda outputs, batch: (outputs.argmax(1) == batch["v"]).float().mean()},
    )
    batches, held_out = ([{"u": u, "v": v} for u, v in part] for part in (train, validation))
    small = isoprune.prune(model, x[:2], ratio=0.5, criterion="taylor", batches=batches, task=task)
    small = isoprune.repair(small, batches=batches, task=task)
    small = isoprune.retrain(small, train=batches, validation=held_out, lr=0.05, epochs=2, task=task)
    rows = small.history[-1]["rows"]
    assert all(0 <= row["validation_right"] <= 1 for row in rows)
