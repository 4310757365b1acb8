"""A detector all the way: pruned, repaired by the default, retrained three steps, saved, a file of ONNX."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch

import isoprune
from detectors import faster_rcnn, fcos, with_targets
from isoprune.types import Task

TASK = Task(
    inputs=lambda batch: batch, loss=lambda outputs, _: sum(outputs.values()), loss_in_train_mode=True,
    metrics={"boxes": lambda outputs, _: float(sum(len(o["boxes"]) for o in outputs))},
)  # fmt: skip


@pytest.mark.parametrize("make", [fcos, pytest.param(faster_rcnn, marks=pytest.mark.matrix)])
def test_pruned_repaired_retrained_and_written(tmp_path, make, monkeypatch):
    tried, balance = [], importlib.import_module("isoprune.methods.repairs.balance")
    exchange = balance._exchange
    monkeypatch.setattr(balance, "_exchange", lambda *args: tried.append(args) or exchange(*args))
    model, data = make(), [with_targets(4, first) for first in range(6)]
    small = isoprune.prune(model.eval(), (data[0][0][:2],), ratio=0.5)
    assert small.costs.ratios["filters"] > 0.45
    repaired = isoprune.repair(small, batches=data, samples=24)
    assert len(tried) < 5  # not one for each of the layers
    before = copy.deepcopy(repaired.model.state_dict())
    done = isoprune.retrain(
        repaired, train=data[:3], validation=data[:1], task=TASK, optimizer="adamw", lr=1e-3, epochs=1
    )
    assert any(not torch.equal(before[k], v) for k, v in done.model.state_dict().items())
    isoprune.save(done, tmp_path / "small")
    again = isoprune.load(tmp_path / "small", build=make).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(data[1][0]), done.model.eval()(data[1][0]), rtol=0, atol=0)
    written = isoprune.export_onnx(done, tmp_path / "small.onnx", (data[0][0][:1],))
    assert written["relative_error"] < 1e-4
