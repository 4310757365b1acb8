"""What every criterion promises, checked on every entry of the table, at every grain that it knows."""

from __future__ import annotations

import copy
import functools
import inspect
from pathlib import Path

import pytest
import torch

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import CRITERIA, scores_of
from isoprune.pruning.grains import units_of
from isoprune.pruning.mask import element_masks
from isoprune.pruning.residual_blocks import residual_blocks, units_of_blocks
from isoprune.signals import Signals
from isoprune.training import History
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method, method_of
from isoprune.types.units import DEPTH

DATA = [name for name, f in CRITERIA.items() if "data" in method_of(f).needs]
FOLLOW = [name for name, f in CRITERIA.items() if method_of(f).follows_order]
FEW = ("mlp", "residual", "depthwise_twice", "multihead")
NETWORKS = (*FEW, "flattened", "grouped", "embedded", "heads", "bare")
BY_GRAIN = {"channel": NETWORKS, DEPTH: ("stack",)}
SAID = {"n:m": "2:4", "block": "2x3"}  # how a grain with numbers is requested

NORMED = [name for name, f in CRITERIA.items() if "batchnorm" in method_of(f).needs]
BATCHNORMS = ("flattened", "residual", "depthwise_twice", "joined")  # some of their channels have one


def usual(name):
    """Return the first grain that a criterion knows."""
    return method_of(CRITERIA[name]).grains[0]


def networks_for(name, nets):
    return BATCHNORMS if name in NORMED else nets


# For equal inputs attention is a mean: what an input of ones makes does not depend on queries and keys.
FLOWLESS = {("synflow", "heads", "q"), ("synflow", "multihead", "attention")}

every_criterion = pytest.mark.parametrize("name", CRITERIA)
every_grain = pytest.mark.parametrize(
    ("name", "grain"), [(name, grain) for name, f in CRITERIA.items() for grain in method_of(f).grains]
)
every_network = pytest.mark.parametrize(
    ("name", "net"), [(name, net) for name in CRITERIA for net in networks_for(name, NETWORKS)]
)


@functools.cache
def graph_of(net):
    return trace(*network(net))


def scored(criterion, model, units, data, seed=0):
    named = inspect.signature(CRITERIA[criterion]).parameters if criterion in CRITERIA else ()
    options = {"train_samples": 12, "batch": 5} if "train_samples" in named else {}  # of those that train
    if "rounds" in named:
        options["rounds"] = 10
    if "history" in named:
        options["history"] = history_of(model)
    generator = torch.Generator().manual_seed(seed)
    return scores_of(criterion, Signals(model, data), units, generator=generator, **options)


def history_of(model):
    """Return a training that pulled all weights half way to zero, where no order of filters matters."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2)
    history = History(made)
    optimizer = history.watch(torch.optim.SGD(made.parameters(), lr=0.5))
    sum(w.square().sum() for w in made.parameters()).div(2).backward()
    optimizer.step()
    return history


def call(criterion, net, grain="channel", seed=0):
    """Return the units of a network, and their scores."""
    model, x = network(net)
    if grain == DEPTH:
        units = units_of_blocks(model, residual_blocks(model, x))
        assert units
    else:
        units = units_of(graph_of(net), SAID.get(grain, grain))
    return units, scored(criterion, model, units, [(x, torch.arange(len(x)) % 5)] * 2, seed)


@every_criterion
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(CRITERIA[name]).parameters
    assert CRITERIA[name].__name__ == name
    assert list(parameters)[:2] == ["signals", "units"]
    assert parameters["generator"].kind is inspect.Parameter.KEYWORD_ONLY
    assert method_of(CRITERIA[name]).kind == "criterion"


@pytest.mark.parametrize(
    ("name", "grain", "net"),
    [
        # Of a further grain one network in every run, the others with the matrix.
        pytest.param(name, grain, net, marks=[pytest.mark.matrix] * (i > 0 and grain != usual(name)))
        for name, f in CRITERIA.items()
        for grain in method_of(f).grains
        for i, net in enumerate(networks_for(name, BY_GRAIN.get(grain, FEW[::-1])))
    ],
)
def test_one_finite_score_for_every_unit(name, grain, net):
    units, scores = call(name, net, grain)
    shapes = {u.name: u.shape for u in units}
    got = {k: tuple(s.shape) for k, s in scores.items()}
    assert got and got.items() <= shapes.items() if name in NORMED else got == shapes
    assert all(torch.isfinite(s).all() and s.is_floating_point() for s in scores.values())
    told = [s for k, s in scores.items() if s.numel() > 1 and (name, net, k) not in FLOWLESS]
    assert all((s != 0).any() for s in told)


@every_network
def test_model_and_gradients_are_untouched(name, net):
    model, x = network(net)
    units = units_of(graph_of(net), usual(name))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    scored(name, model, units, [(x, torch.arange(len(x)) % 5)])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@every_grain
def test_the_same_seed_gives_the_same_scores(name, grain):
    net = networks_for(name, BY_GRAIN[DEPTH] if grain == DEPTH else ["multihead"])[0]
    one, two = (call(name, net, grain, seed=4)[1] for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize(
    ("grain", "name"),
    [
        (grain, name)
        for grain in (
            "channel",
            "filter",
            "kernel",
            "vector",
            "weight",
            "2:4",
            "1x4",
        )  # 1x4: a channel of the flattened map
        for name in FOLLOW
        if {"2:4": "n:m", "1x4": "block"}.get(grain, grain) in method_of(CRITERIA[name]).grains
    ],
)
def test_scores_follow_a_permutation_of_the_filters(name, grain):
    model, x = network("flattened")
    units = units_of(graph_of("flattened"), grain)
    data = [(x, torch.arange(len(x)) % 5)]
    want = scored(name, model, units, data)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, model[2].weight, model[1].weight, model[1].bias,
                       model[1].running_mean, model[1].running_var):  # fmt: skip
            tensor.copy_(tensor[order].clone())
        weight = model[5].weight.reshape(6, 4, 4)
        weight.copy_(weight[:, order].clone())
    got = scored(name, model, units, data)
    first, last = ("0", "5") if grain == "channel" else ("0.weight", "7.weight")
    torch.testing.assert_close(got[first], want[first][order])
    if last in got or name not in NORMED:
        torch.testing.assert_close(got[last], want[last])


@pytest.mark.parametrize("name", [name for name in FOLLOW if "head" in method_of(CRITERIA[name]).grains])
def test_scores_follow_a_permutation_of_the_heads(name):
    model, x = network("multihead")
    units, want = call(name, "multihead", "head")
    order = torch.tensor([3, 1, 0, 2])
    attention = model.attention
    with torch.no_grad():
        for tensor in (attention.in_proj_weight, attention.in_proj_bias):
            heads = tensor.view(3, 4, 4, -1)
            heads.copy_(heads[:, order].clone())
        heads = attention.out_proj.weight.view(16, 4, 4)
        heads.copy_(heads[:, order].clone())
    got = scored(name, model, units, [(x, torch.arange(len(x)) % 5)] * 2)
    torch.testing.assert_close(got["attention.heads"], want["attention.heads"][order])


@pytest.mark.parametrize(
    ("name", "grain", "net"),
    [
        (name, grain, net)
        for name, f in CRITERIA.items()
        if method_of(f).updates_weights and not method_of(f).repair
        for grain in method_of(f).grains
        for net in ("depthwise_twice", "multihead")
        if grain != "head" or net == "multihead"
    ],
)
def test_an_update_keeps_zeros_and_leaves_the_model_alone(name, grain, net):
    model, x = network(net)
    graph, units = graph_of(net), units_of(graph_of(net), SAID.get(grain, grain))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores = scored(name, model, units, [(x, torch.arange(len(x)) % 5)] * 2)
    kept = {u.name: (torch.arange(u.size) % 3 > 0).reshape(u.shape) for u in units}
    masks = element_masks(graph, Plan(kept, SAID.get(grain, grain)), units)
    new = scores.update(masks)
    assert new.keys() <= masks.keys()
    assert any(not torch.equal(new[k][masks[k]], before[k][masks[k]]) for k in new)
    for k, weight in new.items():
        assert weight.shape == before[k].shape
        assert weight.isfinite().all()
        assert not weight[~masks[k]].any()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(IsopruneError, match=r"Unknown criterion 'unheard_of'\. Known: l1_norm, l2_norm"):
        call("unheard_of", "mlp")
    with pytest.raises(IsopruneError, match=r"Unknown criterion 'l2norm'\. Did you mean 'l2_norm'\?"):
        call("l2norm", "mlp")


def test_a_function_is_a_criterion():
    def last_first(signals, units, *, generator):
        return {u.name: torch.arange(u.size).double() for u in units}

    assert call(last_first, "mlp")[1]["0"].tolist() == list(range(10))


def test_a_criterion_of_one_s_own_as_the_documentation_writes_it():
    page = Path(__file__).parents[2] / "docs" / "pruning.md"
    code = page.read_text(encoding="utf-8").partition("### A criterion of your own")[2]
    model, x = network("residual")
    loader = [(x, torch.arange(len(x)) % 5)]
    names = {"isoprune": isoprune, "model": model, "example_inputs": x, "loader": loader}
    exec(code.partition("```python")[2].partition("```")[0], names)
    assert names["small"].plan.grain == "channel"
    assert names["sparse"].plan.grain == "kernel"


def test_a_grain_that_a_criterion_does_not_know_is_refused():
    @method("criterion")
    def of_channels(signals, units, *, generator):
        return {u.name: torch.ones(u.shape) for u in units}

    assert call(of_channels, "mlp")[1]
    with pytest.raises(IsopruneError, match="does not score units of grain 'weight'; it knows channel"):
        call(of_channels, "mlp", "weight")


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("none", [None, []])
def test_criteria_that_look_at_data_say_so_when_there_is_none(name, none):
    with pytest.raises(IsopruneError, match="batches is empty"):
        scored(name, network("mlp")[0], units_of(graph_of("mlp"), usual(name)), none)


@pytest.mark.parametrize("name", DATA)
def test_a_loss_that_is_not_finite_is_refused(name):
    model, x = network("mlp")
    with torch.no_grad():
        model[0].bias[0] = float("nan")
    with pytest.raises(IsopruneError, match="The loss on the data is nan"):
        scored(name, model, units_of(graph_of("mlp"), usual(name)), [(x, torch.arange(len(x)))])


@pytest.mark.parametrize("name", DATA)
def test_batches_of_another_size_are_weighed_by_their_samples(name):
    model, _ = network("mlp")
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y, units = torch.arange(5), units_of(graph_of("mlp"), usual(name))
    one = scored(name, model, units, [(x, y)])
    cut = scored(name, model, units, [(x[:1], y[:1]), (x[1:], y[1:])])
    torch.testing.assert_close(one, cut)
