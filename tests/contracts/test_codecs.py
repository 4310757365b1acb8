"""What deep compression promises: shared numbers keep a plan of any grain, a file gives the bits back."""

from __future__ import annotations

import pytest
import torch
from repaired_networks import NETWORKS, batches, trained

import isoprune
from isoprune.methods.codecs import CODECS, coded_bytes
from isoprune.methods.criteria import CRITERIA
from isoprune.pruning.mask import masks_of
from isoprune.types.method import method_of

# Heads and channels are gone, units of other grains are masked.
GRAINS = ("channel", "filter", "kernel", "vector", "weight", "2:4", "2x3")


@pytest.mark.parametrize("name", CODECS)
def test_the_table_knows_functions_by_their_names(name):
    assert CODECS[name].__name__ == name
    assert method_of(CODECS[name]).kind == "codec"


def test_every_grain_of_the_criteria_is_here():
    said = {"n:m": "2:4", "block": "2x3"}
    known = {grain for f in CRITERIA.values() for grain in method_of(f).grains}
    assert {said.get(grain, grain) for grain in known} - {"head", "residual_block"} == set(GRAINS)


@pytest.mark.parametrize("net", ["mlp", "convolutional", "Residual"])
@pytest.mark.parametrize("grain", GRAINS)
def test_a_network_of_any_grain_comes_back_with_equal_outputs(grain, net, tmp_path):
    x, ratio = batches()[0][0], None if ":" in grain else 0.5
    small = isoprune.prune(trained(NETWORKS[net]), x[:2], ratio, grain=grain)
    few = isoprune.cluster(small, conv_bits=3, linear_bits=2)
    file = isoprune.compress(few, tmp_path / "net.bin")
    # Into a network of other numbers: all that the outputs depend on is in the file.
    into = trained(NETWORKS[net], seed=9)
    if grain == "channel":
        into = isoprune.harden(few).model
        with torch.no_grad():
            for p in into.parameters():
                p.add_(1)
    back = isoprune.decompress(tmp_path / "net.bin", into)
    assert torch.equal(back.eval()(x), few.model.eval()(x))
    assert file.total == coded_bytes(few) == (tmp_path / "net.bin").stat().st_size
    assert isoprune.verify(few).max_abs_error < 1e-9
    plain = dict(isoprune.harden(few).model.named_parameters())
    for tensor, kept in masks_of(small.model).items():
        assert not plain[tensor].detach()[~kept].any()
    for name, W in plain.items():
        if W.dim() > 1:
            most = 2 ** (3 if W.dim() > 2 else 2)
            assert len(W.detach()[W.detach() != 0].unique()) <= most, name
