"""Which channels go together in small networks, known by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graph.attention_networks import Heads
from graph.small_networks import Grouped, Literal, image, network, rows, tokens, words
from isoprune.graph import trace
from isoprune.types import IsopruneError

# group -> (channels, {tensor: dimensions in which they lie})
EXPECTED = {
    "mlp": {
        "0": (10, {"0.weight": [(0,)], "0.bias": [(0,)], "2.weight": [(1,)]}),
        "2": (8, {"2.weight": [(0,)], "2.bias": [(0,)], "4.weight": [(1,)]}),
    },
    "flattened": {
        "0": (4, {"0.weight": [(0,)], "0.bias": [(0,)], "2.weight": [(0,)], "5.weight": [(1,)],
                  **{f"1.{t}": [(0,)] for t in ("weight", "bias", "running_mean", "running_var")}}),
        "5": (6, {"5.weight": [(0,)], "7.weight": [(1,)]}),
    },
    "depthwise_twice": {
        "up": (8, {"up.weight": [(0,)], "up.bias": [(0,)], "depth.weight": [(0,)], "depth.bias": [(0,)],
                   "down.weight": [(1,)],
                   **{f"norm.{t}": [(0,)] for t in ("weight", "bias", "running_mean", "running_var")}}),
        "down": (4, {"down.weight": [(0,)], "down.bias": [(0,)], "head.weight": [(1,)]}),
    },
    "grouped": {  # a grouped convolution counts its input channels anew in every group
        "up": (8, {"up.weight": [(0,)], "up.bias": [(0,)], "mid.weight": [(0, 1)]}),
        "mid": (12, {"mid.weight": [(0,)], "mid.bias": [(0,)], "out.weight": [(1,)]}),
    },
    "pixel_shuffled": {  # four channels make one
        "up": (4, {"up.weight": [(0,)], "up.bias": [(0,)], "down.weight": [(1,)]}),
        "down": (6, {"down.weight": [(0,)], "down.bias": [(0,)], "head.weight": [(1,)]}),
    },
    "tied": {
        "up": (8, {"up.weight": [(0,)], "up.bias": [(0,)], "both.weight": [(0,), (1,)], "both.bias": [(0,)],
                   "head.weight": [(1,)]}),
    },
    "bare": {
        "up": (8, {"up.weight": [(0,)], "up.bias": [(0,)], "scale": [(0,)], "place": [(2,)],
                   "matrix": [(0,)]}),
        "matrix": (6, {"matrix": [(1,)], "head.weight": [(1,)]}),
    },
    "embedded": {
        "words": (8, {"words.weight": [(1,)], "places.weight": [(1,)], "mix.weight": [(0,), (1,)],
                      "mix.bias": [(0,)], "head.weight": [(1,)]}),
    },
    "layer_norm": {
        "up": (8, {"up.weight": [(0,)], "up.bias": [(0,)], "norm.weight": [(0,)], "norm.bias": [(0,)],
                   "down.weight": [(1,)]}),
        "down": (6, {"down.weight": [(0,)], "down.bias": [(0,)], "head.weight": [(1,)]}),
    },
    "heads": {
        "up": (16, {"up.weight": [(0,)], "up.bias": [(0,)], "q.weight": [(1,)], "k.weight": [(1,)],
                    "v.weight": [(1,)], "out.weight": [(0,)], "out.bias": [(0,)], "head.weight": [(1,)]}),
        "q": (16, {"q.weight": [(0,)], "q.bias": [(0,)], "k.weight": [(0,)], "k.bias": [(0,)]}),
        "v": (16, {"v.weight": [(0,)], "v.bias": [(0,)], "out.weight": [(1,)]}),
    },
}  # fmt: skip


def found(graph):
    out = {}
    for group in graph.groups:
        places = {}
        for member in group.members:
            places.setdefault(member.tensor, []).append(member.dims)
        out[group.name] = (group.size, {name: sorted(dims) for name, dims in places.items()})
    return out


@pytest.mark.parametrize("name", EXPECTED)
def test_channels_are_grouped_as_by_hand(name):
    graph = trace(*network(name))
    assert found(graph) == EXPECTED[name]
    assert {f.reason for f in graph.frozen} == {"the network's output"}


def channels(graph, name, tensor, dim):
    (member,) = [m for m in graph.group(name).members if m.tensor == tensor and m.dims == (dim,)]
    return member.channels.flatten().tolist()


def test_a_flattened_map_lends_its_channel_to_all_its_positions():
    graph = trace(*network("flattened"))
    assert channels(graph, "0", "5.weight", 1) == [c for c in range(4) for _ in range(4)]


def test_pixel_shuffle_binds_the_channels_that_it_interleaves():
    graph = trace(*network("pixel_shuffled"))
    assert channels(graph, "up", "up.weight", 0) == [c for c in range(4) for _ in range(4)]


def test_groups_of_queries_share_the_channels_of_their_key():
    graph = trace(*network("grouped_queries"))
    assert graph.group("q").size == 8
    # Query heads 0 and 1 read key head 0, heads 2 and 3 read key head 1; each 4 wide.
    assert channels(graph, "q", "q.weight", 0) == [0, 1, 2, 3] * 2 + [4, 5, 6, 7] * 2
    assert channels(graph, "q", "k.weight", 0) == list(range(8))


def test_chunks_of_a_concatenation_keep_equally_many():
    graph = trace(*network("joined"))
    assert {g.name: g.size for g in graph.groups} == {"a": 4, "b": 4, "b:2": 4, "d": 6, "c": 4}
    first, second = (set(graph.channels[n]) for n in ("b", "b:2"))
    assert any([set(s) for s in c.sets] == [first, second] for c in graph.constraints)


def test_a_shuffle_binds_columns_and_grouped_convolutions_balance():
    graph = trace(*network("shuffled"))
    assert channels(graph, "one", "one.weight", 0) == [0, 1, 2, 3, 0, 1, 2, 3]
    assert len(graph.constraints) >= 2
    assert graph.heads == ()  # a group of a convolution cannot go as a whole


@pytest.mark.parametrize(
    ("name", "heads"), [("heads", 4), ("grouped_queries", 2), ("fused", 4), ("multihead", 4)]
)
def test_whole_heads_are_a_group_of_their_own(name, heads):
    (group,) = trace(*network(name)).heads
    assert group.name.endswith(".heads")
    assert group.size == heads


def test_roles_say_who_makes_and_who_reads():
    graph = trace(*network("flattened"))
    roles = {m.tensor: m.role for m in graph.group("0").members}
    assert roles["0.weight"] == "out"  # though it reads the network's input
    assert roles["5.weight"] == "in"
    assert {r for t, r in roles.items() if t not in ("0.weight", "5.weight")} == {"other"}


def test_a_filter_of_one_number_makes_its_channel_too():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(16, 3))
    graph = trace(model, torch.randn(1, 1, 2, 2))
    assert {m.tensor: m.role for m in graph.group("0").members}["0.weight"] == "out"


def test_channels_of_the_output_stay_and_say_so():
    graph = trace(*network("mlp"))
    (frozen,) = graph.frozen
    assert (frozen.tensor, frozen.dim, frozen.channels) == ("4.weight", 0, 5)
    assert frozen.reason == "the network's output"


def test_an_unknown_operation_freezes_what_touches_it_and_names_itself():
    class Unknown(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(7, 8), nn.Linear(8, 5)

        def forward(self, x):
            return self.down(torch.renorm(self.up(x), 2, 0, 1.0))

    graph = trace(Unknown(), rows())
    assert graph.groups == ()
    reasons = {f.tensor: f.reason for f in graph.frozen}
    assert "renorm" in reasons["up.weight"]
    assert "has no rule" in reasons["up.weight"]


def test_channels_that_are_picked_by_their_position_stay():
    class Picked(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(7, 8), nn.Linear(8, 5)

        def forward(self, x):
            x = self.up(x)
            return self.down(x) + x[:, 3:4]

    graph = trace(Picked(), rows())
    assert [g.size for g in graph.groups] == [7]
    (frozen,) = [f for f in graph.frozen if f.tensor == "up.weight"]
    assert frozen.channels == 1
    assert "position" in frozen.reason


def test_what_is_added_to_the_input_stays():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.head = nn.Linear(7, 8), nn.Linear(8, 7), nn.Linear(7, 5)

        def forward(self, x):
            return self.head(x + self.down(F.relu(self.up(x))))

    graph = trace(Skip(), rows())
    assert [g.name for g in graph.groups] == ["up"]
    assert any(f.tensor == "down.weight" and "add" in f.reason for f in graph.frozen)


def test_a_vocabulary_stays():
    graph = trace(*network("embedded"))
    assert "vocabulary" not in str(graph.groups)
    assert {m.dims for m in graph.group("words").members if m.tensor == "words.weight"} == {(1,)}


def test_an_unknown_group_is_named_with_those_that_are_known():
    with pytest.raises(IsopruneError, match=r"No group named 'nope'. Known: 0, 2\."):
        trace(*network("mlp")).group("nope")


def test_a_forward_that_does_not_run_is_told_with_its_own_error():
    with pytest.raises(
        IsopruneError, match=r"Sequential does not run on these example_inputs: .*(mat1|shape)"
    ):
        trace(network("mlp")[0], torch.randn(2, 9, dtype=torch.float64))


def test_a_literal_size_is_found_when_a_plan_is_tried():
    from isoprune.verbs import prune

    model, x = network((Literal, rows))
    result = prune(model, x, 0.5)
    assert set(result.plan.removed) == {"mid"}
    (reason,) = {f.reason for f in result.graph.frozen if f.tensor == "up.weight"}
    assert "sizes written into the forward" in reason
    assert "view" in reason


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("name", ["residual", "heads", "multihead", "fused", "embedded"])
def test_groups_do_not_depend_on_the_batch(name, batch):
    model, _ = network(name)
    inputs = {"residual": image, "embedded": words}.get(name, tokens)(batch)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    want = found(trace(*network(name)))
    assert found(trace(model, inputs)) == want


def test_tracing_leaves_the_model_as_it_was():
    model, x = network("heads")
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attributes = {n: dict(vars(m)) for n, m in model.named_modules()}
    trace(model, x)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {n: dict(vars(m)) for n, m in model.named_modules()} == attributes
    assert all(type(v) is not int or type(vars(model)[k]) is int for k, v in attributes[""].items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_tracing_computes_nothing():
    model = Grouped().to("cpu")
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(float("nan"))
    assert len(trace(model, image()).groups) == 2


def test_widths_of_heads_written_as_attributes_follow():
    from isoprune.verbs import prune

    model, x = network((lambda: Heads(width=6), tokens))
    small = prune(model, x, 0.5).model
    assert (small.heads, small.width) == (4, 3)
    assert (model.heads, model.width) == (4, 6)
