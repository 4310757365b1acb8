"""Forwards in which values decide what comes next: a detector's file, and what no file can hold."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from detectors import faster_rcnn, fcos, keypoint_rcnn, mask_rcnn, retinanet, scenes, ssd
from isoprune.export import export_onnx, latency
from isoprune.types import IsopruneError

SLOW = (faster_rcnn, mask_rcnn, keypoint_rcnn, retinanet, ssd)
DETECTORS = [fcos, *(pytest.param(make, marks=pytest.mark.matrix) for make in SLOW)]
FURTHER = {mask_rcnn: {"masks"}, keypoint_rcnn: {"keypoints", "keypoints_scores"}}


@pytest.mark.parametrize("make", DETECTORS)
def test_a_detector_s_file_finds_what_torch_finds_on_images_that_it_was_not_made_of(tmp_path, make):
    model, images = make().eval(), scenes(2)
    done = export_onnx(model, tmp_path / "d.onnx", (images,))
    assert "traced by TorchScript" in done["fixed_batch"]
    assert done["inputs"] == {"images": [3, 64, 64], "images_1": [3, 64, 64]}
    found = {"boxes", "scores", "labels"} | FURTHER.get(make, set())
    assert found | {f"{name}_1" for name in found} == set(done["outputs"])
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(tmp_path / "d.onnx", providers=["CPUExecutionProvider"])
    for others in (scenes(2, first=7), [0.01 * x for x in scenes(2, first=8)]):
        got = session.run(None, {"images": others[0].numpy(), "images_1": others[1].numpy()})
        with torch.no_grad():
            want = tree_leaves(model(others))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.matrix
def test_a_detector_is_timed_in_onnxruntime():
    rows = latency({"dense": fcos().eval()}, (scenes(1),), backends=["onnxruntime"]).as_rows()
    assert rows[0]["median_ms"] > 0


class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.mean() > 0.5 else x * 3


class Listed(nn.Module):
    def forward(self, x):
        return x * max(x.flatten().tolist())


@pytest.mark.parametrize("make", [Branch, Listed])
def test_what_python_reads_of_the_inputs_is_in_no_trace(tmp_path, make):
    with pytest.raises(IsopruneError, match=r"cannot translate .* values of the inputs") as error:
        export_onnx(make(), tmp_path / "n.onnx", torch.rand(2, 3))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


class Found(nn.Module):
    def forward(self, x):
        return x[x > 2]


def test_empty_outputs_prove_nothing(tmp_path):
    with pytest.raises(IsopruneError, match="outputs are empty, so nothing can be compared"):
        export_onnx(Found(), tmp_path / "n.onnx", torch.rand(4))
