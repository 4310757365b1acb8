"""An ONNX file that is written computes what torch does; what cannot be written has a reason."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import isoprune
from isoprune.export import export_onnx, onnx
from isoprune.types import IsopruneError

from .networks import NETWORKS, Convolutions, bits, images, seeded

onnxruntime = importlib.import_module("onnxruntime")


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_of_any_batch_size(tmp_path, name):
    make, inputs = NETWORKS[name]
    small = isoprune.prune(seeded(make), inputs(), 0.4).model
    before = bits(small)
    done = export_onnx(small, tmp_path / "small.onnx", inputs(1))
    assert done["dynamic_batch"]
    assert done["fixed_batch"] is None
    assert done["relative_error"] < 1e-5
    assert done["bytes"] == (tmp_path / "small.onnx").stat().st_size
    assert bits(small) == before
    run = session(tmp_path / "small.onnx")
    (argument,) = done["inputs"]
    for n in (1, 2, 5):
        x = inputs(n)
        (got,) = run.run(["output"], {argument: x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(got, small(x).numpy(), rtol=1e-4, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]


class Named(nn.Module):
    """Two inputs, one of them by name, and outputs in a mapping that holds a tuple."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, left, *, right):
        y = self.layer(left) - self.layer(right)
        return {"sum": y.sum(1), "parts": (y, y.argmax(1))}


def test_names_are_those_of_the_forward_and_of_its_output(tmp_path):
    inputs = {"right": torch.randn(4, 3), "left": torch.randn(4, 3)}
    done = export_onnx(Named(), tmp_path / "n.onnx", inputs)
    assert done["inputs"] == {"right": ["batch", 3], "left": ["batch", 3]}
    assert done["outputs"] == {"sum": ["batch"], "parts": ["batch", 2], "parts_1": ["batch"]}


def test_a_fixed_batch_on_request(tmp_path):
    done = export_onnx(nn.Linear(3, 3), tmp_path / "n.onnx", torch.randn(5, 3), dynamic_batch=False)
    assert done["inputs"] == {"input": [5, 3]}
    assert done["fixed_batch"] == "not asked for"


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(2 if x.shape[0] == 2 else 4, -1) * 2


@pytest.mark.matrix
def test_a_batch_that_the_forward_fixes_is_said(tmp_path):
    done = export_onnx(Fixed(), tmp_path / "n.onnx", torch.randn(2, 3))
    assert not done["dynamic_batch"]
    assert "does not run Fixed" in done["fixed_batch"]
    assert "\n" not in done["fixed_batch"]
    assert done["inputs"] == {"x": [2, 3]}


class Untranslatable(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real


def test_the_exporters_failure_has_a_reason_and_leaves_no_file(tmp_path):
    with pytest.raises(IsopruneError, match=r"cannot translate Untranslatable: .*linalg_eig") as error:
        export_onnx(Untranslatable(), tmp_path / "n.onnx", torch.randn(3, 3), dynamic_batch=False)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "n.onnx").write_text("the old one")
    model, real = nn.Linear(3, 3), onnx.exported

    def wrong(network, inputs, *, batch):
        return real(nn.Linear(3, 3), inputs, batch=batch)

    monkeypatch.setattr(onnx, "exported", wrong)
    with pytest.raises(IsopruneError, match=r"onnxruntime differs from torch by .* nothing was written"):
        export_onnx(model, tmp_path / "n.onnx", torch.randn(2, 3), dynamic_batch=False)
    assert (tmp_path / "n.onnx").read_text() == "the old one"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_is_not_equal_to_nan(tmp_path, number):
    with pytest.raises(IsopruneError, match="output holds NaN or infinity, so nothing can be compared"):
        export_onnx(nn.ReLU(), tmp_path / "n.onnx", torch.full((2, 3), number), dynamic_batch=False)


def test_large_weights_go_into_a_second_file(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "EXTERNAL", 0)
    done = export_onnx(nn.Sequential(nn.Linear(300, 300)), tmp_path / "n.onnx", torch.randn(2, 300))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.onnx", "n.onnx.data"]
    assert done["bytes"] == sum(p.stat().st_size for p in tmp_path.iterdir()) > 4 * 300 * 300
    assert session(tmp_path / "n.onnx").run(None, {"input": np.ones((7, 300), "float32")})[0].shape == (
        7,
        300,
    )


def test_float64_is_compared_as_such(tmp_path):
    done = export_onnx(nn.Linear(3, 3).double(), tmp_path / "n.onnx", torch.randn(2, 3).double())
    assert done["relative_error"] < 1e-12
    with pytest.raises(
        IsopruneError, match=r"onnxruntime does not run Conv2d: .*Nothing was written; float32"
    ):
        export_onnx(nn.Conv2d(3, 3, 3).double(), tmp_path / "c.onnx", images().double(), dynamic_batch=False)
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(IsopruneError, match=rf"ONNX needs {package}: pip install 'isoprune\[export\]'"):
        export_onnx(seeded(Convolutions), tmp_path / "n.onnx", images())


def test_nothing_is_said_and_nothing_stays_changed(tmp_path, capfd):
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    fast, filters = torch.backends.mha.get_fastpath_enabled(), list(warnings.filters)
    generator = torch.get_rng_state()
    export_onnx(model, tmp_path / "n.onnx", (torch.ones(2, 3, 8),) * 3)
    assert capfd.readouterr() == ("", "")
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert list(warnings.filters) == filters
    assert logging.root.manager.disable == 0
    assert torch.equal(torch.get_rng_state(), generator)


def test_read_only_and_full_disks(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match="a file stands in its way"):
        export_onnx(nn.Linear(2, 2), tmp_path / "file" / "n.onnx", torch.randn(2, 2))
