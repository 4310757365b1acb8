"""The verdict follows the damage, and the sentences name the layer that did it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from isometry_networks import Language, make
from torch import nn

from isoprune.isometry import diagnose, jacobian_singular_values, summary, thresholds
from isoprune.types import IsopruneError


def orthogonal_mlp(width=12, depth=4):
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        with torch.no_grad():
            Q = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))[0]
            layer.weight.copy_(Q)
    return nn.Sequential(*layers).double().eval()


def batches(width=12, n=3, size=4):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, width, generator=generator).double(), torch.zeros(size)) for _ in range(n)]


def scaled(net, name, factor):
    net = copy.deepcopy(net)
    net.get_submodule(name).weight.data *= factor
    return net


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1.0, "healthy"),
        (thresholds.DAMAGED_RATIO * 1.01, "healthy"),
        (thresholds.DAMAGED_RATIO * 0.99, "damaged"),
        (thresholds.COLLAPSED_RATIO * 1.01, "damaged"),
        (thresholds.COLLAPSED_RATIO * 0.99, "collapsed"),
        (thresholds.EXPLODED_RATIO * 1.01, "damaged"),
        (0.0, "collapsed"),
    ],
)
def test_verdict_follows_the_ratio_to_the_dense_network(factor, verdict):
    dense = orthogonal_mlp()
    found = diagnose(scaled(dense, "2", factor), batches(), dense)
    assert found.verdict == verdict
    assert found.numbers["jsv_ratio"] == pytest.approx(factor)
    assert found.sentences[0].startswith(verdict.capitalize())


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1.0, "healthy"),
        (thresholds.DAMAGED_MEAN * 0.99, "damaged"),
        (thresholds.COLLAPSED_MEAN * 0.99, "collapsed"),
        (thresholds.EXPLODED_MEAN * 1.01, "damaged"),
    ],
)
def test_verdict_without_a_dense_network(factor, verdict):
    assert diagnose(scaled(orthogonal_mlp(), "1", factor), batches()).verdict == verdict


def test_directions_that_vanished_count_although_the_mean_is_fine():
    dense = orthogonal_mlp()
    pruned = copy.deepcopy(dense)
    pruned[1].weight.data[:7] = 0  # 7 of 12 directions gone
    pruned[2].weight.data *= 12 / 5  # mean as before
    found = diagnose(pruned, batches(), dense)
    assert found.numbers["jsv_ratio"] == pytest.approx(1)
    assert found.verdict == "collapsed"
    assert found.numbers["dead_filters"] == 7
    assert "Filters with all weights zero: 7 in 1." in found.sentences


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_filters_of_a_convolution_are_its_outputs(kind, groups):
    """Put in place of a network's middle, a layer of which two outputs are zero whatever comes in."""
    torch.manual_seed(0)
    layer = kind(4, 10, 3, groups=groups)
    where = (slice(1, 3), slice(None)) if kind is nn.Conv1d else (slice(None), slice(1, 3))
    layer.weight.data[where] = 0
    layer.bias.data[:] = 0
    silent = (layer(torch.randn(1, 4, 9)) == 0).all(-1).sum()
    model = nn.Sequential(nn.Conv1d(4, 4, 1), layer, nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(5, 4, 9)
    model(x)
    found = next(row for row in diagnose(model.eval(), [(x, None)]).layers if row["name"] == "1")
    assert (found["filters"], found["dead_filters"]) == (10, silent)
    # The matrix of one output place: a transposed convolution adds up taps that a convolution reads.
    by_output = layer.weight.detach()
    by_output = by_output if kind is nn.Conv1d else by_output.transpose(0, 1)
    if groups == 1:
        sigma = torch.linalg.svdvals(by_output.flatten(1))
    else:
        halves = layer.weight.detach().chunk(2)
        flat = [(h if kind is nn.Conv1d else h.transpose(0, 1)).flatten(1) for h in halves]
        sigma = torch.linalg.svdvals(torch.block_diag(*flat))
    assert found["sigma_max"] == pytest.approx(float(sigma.max()))
    assert found["sigma_mean"] == pytest.approx(float(sigma.mean()), rel=1e-5)


def test_layer_that_lost_it_is_named_with_its_share():
    dense = orthogonal_mlp()
    pruned = scaled(scaled(dense, "1", 0.01), "3", 0.1)
    found = diagnose(pruned, batches(), dense)
    assert found.sentences[1] == (
        "To blame: 1 passes 0.01 instead of 1 of the gradient, and with its dense weights the mean is 0.1 "
        "(67% of the loss comes back); 3 passes 0.1 instead of 1 of the gradient, and with its dense weights "
        "the mean is 0.01 (33% of the loss comes back)."
    )
    rows = {row["name"]: row for row in found.layers}
    assert rows["1"]["lost"] == pytest.approx(2)
    assert rows["1"]["share"] == pytest.approx(2 / 3)
    assert rows["0"]["share"] == pytest.approx(0, abs=1e-9)
    assert rows["1"]["sigma_max"] == pytest.approx(0.01)
    assert diagnose(dense, batches(), dense).sentences[1].startswith("Within a sample")


def test_numbers_are_those_of_the_summary():
    model, x = make("lenet", samples=5)
    data = [(x[:3], torch.zeros(3)), (x[3:], torch.zeros(2))]
    found = diagnose(model, data, model, repaired={"twice": model})
    want = summary(jacobian_singular_values(model, x))
    for prefix in ("", "dense_", "twice_"):
        for key, value in want.items():
            assert found.numbers[f"{prefix}jsv_{key}"] == value
    assert found.sentences[-1].startswith("Repair twice brings the mean to")
    assert "1 times the dense network's" in found.sentences[-1]
    keys = [tuple(row) for row in found.as_rows()]
    assert len(set(keys)) == 1
    assert str(found) == "\n".join(found.sentences)
    only = diagnose(model, data, samples=2).numbers["jsv_mean"]
    assert only == pytest.approx(summary(jacobian_singular_values(model, x[:2]))["mean"])


def test_every_number_is_finite_for_a_dead_network():
    dense = orthogonal_mlp()
    dead = scaled(dense, "0", 0.0)
    for found in (
        diagnose(dead, batches(), dense),
        diagnose(dense, batches(), dead),
        diagnose(dead, batches(), dead),
    ):
        assert all(math.isfinite(value) for value in found.numbers.values())


def test_reads_no_more_batches_than_needed_and_refuses_none():
    def endless():
        yield from batches(n=1)
        raise AssertionError("read too far")

    diagnose(orthogonal_mlp(), endless(), samples=4)
    with pytest.raises(IsopruneError, match="batches is empty"):
        diagnose(orthogonal_mlp(), [])


def test_a_network_in_train_mode_is_diagnosed_as_in_eval_mode_and_left_in_its_own():
    net = nn.Sequential(
        nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    ).double()
    want = diagnose(net.eval(), batches()).numbers
    assert diagnose(net.train(), batches()).numbers == want
    assert all(module.training for module in net.modules())


def test_language_model_by_its_embedding():
    torch.manual_seed(0)
    model = Language().eval()
    data = [(torch.randint(11, (4, 3)), torch.zeros(4))]
    found = diagnose(model, data, model, input="embed", output=lambda out: out["logits"][:, -1])
    assert found.verdict == "healthy"
    assert [row["name"] for row in found.layers] == ["mix", "head"]
