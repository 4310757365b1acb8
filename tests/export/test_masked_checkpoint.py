"""Masked networks on the disk: they come back masked; damaged masks are refused."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

import isoprune
from isoprune.export import export_onnx, load, save
from isoprune.pruning.mask import check_masks, masks_of
from isoprune.types import IsopruneError

from .networks import Convolutions, images, seeded


@pytest.mark.parametrize("grain", ["channel", "weight", "kernel", "2:4"])
def test_masked_networks_keep_their_masks(tmp_path, grain):
    dense = seeded(Convolutions)
    ratio = None if grain == "2:4" else 0.5
    held = isoprune.prune(dense, images(), ratio, grain=grain, mask=True)
    net = copy.deepcopy(held.model)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)  # a training
    place = save(dataclasses.replace(held, model=net), tmp_path / "s")
    back = load(place, build=Convolutions)
    assert masks_of(back).keys() == masks_of(net).keys()
    with torch.no_grad():
        assert torch.equal(back(images()), net.eval()(images()))
        for parameter in back.parameters():
            parameter.add_(0.1)
    check_masks(back, masks_of(held.model))


def test_damaged_masks_are_refused(tmp_path):
    held = isoprune.prune(seeded(Convolutions), images(), 0.5, grain="weight")
    place = save(held, tmp_path / "s")
    file = place / "plan.safetensors"
    whole = file.read_bytes()
    for bad in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 255]), whole + bytes(100_000)):
        file.write_bytes(bad)
        with pytest.raises(IsopruneError, match=r"plan\.safetensors is damaged"):
            load(place, build=Convolutions)
    file.unlink()
    with pytest.raises(IsopruneError, match="missing, or larger than its plan"):
        load(place, build=Convolutions)


def test_a_masked_network_is_exported_with_its_zeros(tmp_path):
    import onnx

    held = isoprune.prune(seeded(Convolutions), images(), 0.5, grain="weight")
    done = export_onnx(held, tmp_path / "masked.onnx")
    assert done["relative_error"] < 1e-4
    stored = [onnx.numpy_helper.to_array(w) for w in onnx.load(done["path"]).graph.initializer]
    kept = masks_of(held.model)["stem.weight"]
    (stem,) = [w for w in stored if w.shape == tuple(kept.shape)]
    assert not torch.from_numpy(stem.copy())[~kept].any()
