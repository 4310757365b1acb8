"""The matrix: every network of the zoo, halved, is right, comes back bit by bit, and goes to ONNX."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils._pytree import tree_leaves

from isoprune.export import export_onnx, load, save
from isoprune.graph.entries import as_call
from isoprune.graph.outputs import tensors_in
from pruning.zoo import MATRIX, check, halved, made

from .networks import tensors

# One worker a network: it is pruned once for the three tests.
EACH = [pytest.param(entry, id=entry.name, marks=pytest.mark.xdist_group(entry.name)) for entry in MATRIX]


@pytest.fixture(scope="module", params=EACH)
def case(request):
    return halved(request.param)


@pytest.mark.matrix
def test_it_is_proven_whole_untouched_trainable_and_cheaper(case):
    check(case)


@pytest.mark.matrix
def test_comes_back_with_equal_bits(case, tmp_path):
    entry, dense, result = case.entry, case.dense, case.result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = load(save(result, tmp_path / "small", dense=dense), build=lambda: made(entry, seed=1))
        want, got = tensors(result.model), tensors(back)
        assert want.keys() == got.keys()
        for name, tensor in want.items():
            assert torch.equal(tensor, got[name]), name
        args, kwargs = as_call(entry.inputs())
        with torch.no_grad():
            outputs = [list(tensors_in(m(*args, **kwargs))) for m in (result.model, back)]
    for a, b in zip(*outputs, strict=True):
        assert torch.equal(a, b)
        assert a.std() > 0  # a constant output would prove nothing


@pytest.mark.matrix
def test_goes_to_onnx_with_any_batch_size(case, tmp_path):
    """The exporter has a form for every one of them; should it lose one, its reason is in the message."""
    entry, result = case.entry, case.result
    done = export_onnx(result.model, tmp_path / "small.onnx", entry.inputs())
    assert done["fixed_batch"] is None
    assert done["relative_error"] < 1e-4
    assert done["scale"] > 0
    assert len(done["inputs"]) == sum(isinstance(t, torch.Tensor) for t in tree_leaves(entry.inputs()))
