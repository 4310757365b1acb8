"""Units of every grain: what they are made of, and which of them a ratio removes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import NETWORKS, network
from isoprune.graph import trace
from isoprune.pruning.grains import read_grain, units_of, weights_of
from isoprune.pruning.mask import element_masks, masks_of
from isoprune.types import IsopruneError, Plan

PARTS = ("filter", "kernel", "vector", "weight", "2:4", "4x4")


def one(layer, *shape):
    """Return the units' maker of one layer's weight, float64."""
    model = nn.Sequential(layer).double()
    graph = trace(model, torch.randn(*shape, dtype=torch.float64))
    return lambda grain: units_of(graph, grain)[0]


def elements(units, shape):
    """Return the positions of the elements of every unit, as sets."""
    (member,) = units.members
    table = torch.arange(units.size).reshape(shape) if member.unit is None else member.unit.expand(shape)
    places = torch.arange(torch.Size(shape).numel()).reshape(shape)
    return [set(places[table == u].tolist()) for u in range(units.size)]


@pytest.mark.parametrize("grain", PARTS)
@pytest.mark.parametrize(
    "layer",
    [nn.Linear(6, 5), nn.Conv2d(6, 4, (2, 3)), nn.ConvTranspose1d(6, 4, 3), nn.Conv2d(6, 6, 3, groups=6)],
)
def test_every_element_is_in_one_unit(layer, grain):
    shape = (2, 6) if isinstance(layer, nn.Linear) else (2, 6, *[8] * (layer.weight.dim() - 2))
    units = one(layer, *shape)(grain)
    sets = elements(units, layer.weight.shape)
    assert len(sets) == units.size == torch.Size(units.shape).numel()
    assert sum(map(len, sets)) == layer.weight.numel() == len(set().union(*sets))


def test_units_of_a_convolution_are_those_of_mao_2017():
    made = one(nn.Conv2d(3, 4, (2, 5)), 1, 3, 9, 9)
    sizes = {grain: {len(e) for e in elements(made(grain), (4, 3, 2, 5))} for grain in PARTS}
    assert sizes == {"filter": {30}, "kernel": {10}, "vector": {5}, "weight": {1}, "2:4": {1}, "4x4": {16, 8}}
    assert {g: made(g).shape for g in ("filter", "kernel", "vector", "4x4")} == {
        "filter": (4,), "kernel": (4, 3), "vector": (4, 3, 2), "4x4": (1, 8),
    }  # fmt: skip


def test_filters_of_a_transposed_convolution_are_its_second_dimension():
    made = one(nn.ConvTranspose2d(3, 5, 2), 1, 3, 4, 4)
    weight = torch.arange(60).reshape(3, 5, 2, 2)
    assert elements(made("filter"), weight.shape) == [set(weight[:, i].flatten().tolist()) for i in range(5)]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_weights_are_what_layers_multiply_with(name):
    model, x = network(name)
    found = {tensor for tensor, *_ in weights_of(trace(model, x))}
    assert all(dict(model.named_parameters())[tensor].dim() > 1 for tensor in found)
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
    assert {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, layers)} <= found
    assert (
        not {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)}
        & found
    )


def test_an_embedding_is_no_weight_unless_the_head_is_tied_to_it():
    class Words(nn.Module):
        def __init__(self, tied):
            super().__init__()
            self.table, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
            if tied:
                self.head.weight = self.table.weight

        def forward(self, words):
            return self.head(self.table(words))

    words = torch.randint(0, 11, (2, 3))
    assert [n for n, *_ in weights_of(trace(Words(False), words))] == ["head.weight"]
    assert [n for n, *_ in weights_of(trace(Words(True), words))] == ["table.weight"]


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("grain", ["filter", "kernel", "vector", "weight", "4x4"])
def test_the_lowest_scores_of_every_tensor_go(grain, ratio):
    model, x = network("depthwise")
    graph = trace(model, x)
    units = units_of(graph, grain)
    scores = {u.name: torch.rand(u.shape, dtype=torch.float64) for u in units}
    pruned = isoprune.prune(model, x, ratio, grain=grain, criterion=lambda *_, **__: scores)
    for u in units:
        order = scores[u.name].flatten().argsort().tolist()
        number = min(-int(-ratio * u.size // 1), u.size - 1)
        assert set(pruned.plan.removed.get(u.name, ())) == set(order[:number])


def test_global_ranking_of_weights_is_one_threshold():
    model, x = network("depthwise")
    pruned = isoprune.prune(model, x, 0.7, grain="weight", allocation="global")
    weights = {n: p.detach().abs().flatten() for n, p in model.named_parameters() if n in pruned.plan.kept}
    kept = torch.cat([w[pruned.plan.kept[n].flatten()] for n, w in weights.items()])
    gone = torch.cat([w[~pruned.plan.kept[n].flatten()] for n, w in weights.items()])
    assert gone.max() <= kept.min() or len(weights) > 1  # but for the last weight of a tensor, which stays
    total = sum(u.size for u in units_of(trace(model, x), "weight"))
    assert len(gone) == -int(-0.7 * total // 1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(10, 3), (2, 10)),
        (nn.Conv1d(10, 3, 2), (2, 10, 4)),
        (nn.ConvTranspose1d(10, 3, 2), (2, 10, 4)),
    ],
)
def test_two_of_four_neighbours_along_the_input_stay(layer, shape):
    model = nn.Sequential(layer).double()
    pruned = isoprune.prune(model, torch.randn(shape, dtype=torch.float64), grain="2:4")
    kept, W = pruned.plan.kept["0.weight"], layer.weight.detach().abs()
    if isinstance(layer, nn.ConvTranspose1d):
        kept, W = kept.transpose(0, 1), W.transpose(0, 1)
    for rest in itertools.product(range(kept.shape[0]), *map(range, kept.shape[2:])):
        for first in range(0, 10, 4):
            at = (rest[0], slice(first, first + 4), *rest[1:])
            k, w = kept[at], W[at]
            assert int(k.sum()) == min(2, len(k))
            assert w[k].min() >= w[~k].max() if (~k).any() else True


def test_heads_go_whole_and_the_network_shrinks():
    model, x = network("heads")
    pruned = isoprune.prune(model, x, 0.5, grain="head")
    assert pruned.plan.grain == "head"
    assert pruned.model.heads == model.heads // 2
    assert isoprune.verify(pruned).relative_error < 1e-12


@pytest.mark.parametrize(("options", "message"), [
    ({"ratio": 0.5, "grain": "wieght"}, r"Unknown grain 'wieght'\. Did you mean 'weight'\?"),
    ({"grain": "4:2"}, "write n:m with 0 < n < m"),
    ({"ratio": 0.5, "grain": "1x1"}, "rows x columns of a block"),
    ({"ratio": 0.5, "grain": "2:4"}, "says how much goes: give no ratio"),
    ({"flops": 0.5, "grain": "weight"}, "A budget of flops is met by removing channels"),
    ({"ratio": 1.0, "grain": "weight"}, r"ratio is 1.0, not a number in \[0, 1\)"),
    ({"ratio": {"nothing*": 0.5}, "grain": "weight"}, 'pattern "nothing\\*" matches no group'),
    ({"grain": "weight"}, "Give one of ratio, flops, parameters and latency; got none"),
    ({"flops": 0.5, "grain": "head"}, "met by removing channels, not heads"),
    ({"ratio": 0.5, "grain": "weight", "round_to": 8}, "^round_to says how channels go, and the grain"),
    ({"ratio": 0.5, "grain": "head", "scope": "internal", "cap": 0.5}, "^scope and cap .* Leave them out"),
    ({"ratio": 0.5, "grain": "weight", "unrun": "nonsense"}, "unrun is 'keep' or 'ignore', not 'nonsense'"),
    ({"ratio": 0.95, "allocation": "global"}, r"^ratio is 0.95, and cap lets .* Give cap=0.95 or more"),
    ({"ratio": 1.5, "allocation": "global"}, r"ratio is 1.5, not a number in \[0, 1\)"),
])  # fmt: skip
def test_mistakes_are_named(options, message):
    model, x = network("depthwise")
    with pytest.raises(IsopruneError, match=message):
        isoprune.prune(model, x, **options)


def test_patterns_choose_tensors():
    model, x = network("depthwise")
    (first, *others) = [n for n, *_ in weights_of(trace(model, x))]
    pruned = isoprune.prune(model, x, {"*": 0.5, first.rpartition(".")[0]: 0.0}, grain="weight")
    assert set(masks_of(pruned.model)) == set(pruned.plan.removed) == set(others)


def test_a_plan_of_part_of_the_units_masks_these_elements():
    model, x = network("depthwise")
    graph = trace(model, x)
    units = units_of(graph, "kernel")
    first = units[0]
    keep = torch.rand(first.shape) > 0.5
    (mask,) = element_masks(graph, Plan({first.name: keep}, "kernel"), units).values()
    shape = graph.tensors[first.name][1]
    assert torch.equal(mask, keep.reshape(*keep.shape, *[1] * (len(shape) - 2)).expand(shape))


def test_a_grain_reads_back():
    for text in ("channel", "head", "filter", "kernel", "vector", "weight", "2:4", "1:3", "4x4", "1x8"):
        assert str(read_grain(text)) == text
