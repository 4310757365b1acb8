"""What every criterion promises, checked on every entry of the table."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import CRITERIA, scores_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method_of

DATA = [name for name, f in CRITERIA.items() if "data" in method_of(f).needs]
FOLLOW = [name for name, f in CRITERIA.items() if method_of(f).follows_order]

every_criterion = pytest.mark.parametrize("name", CRITERIA)
NETWORKS = ("mlp", "flattened", "residual", "grouped", "depthwise_twice", "embedded", "heads", "bare")


def batches(x, classes=5):
    return [(x, torch.arange(len(x)) % classes)] * 2


def call(name, model, x, graph=None, seed=0):
    graph = trace(model, x) if graph is None else graph
    return scored(name, model, graph, batches(x), seed)


def scored(name, model, graph, data, seed=0):
    return scores_of(name, Signals(model, data), graph.groups, generator=torch.Generator().manual_seed(seed))


@every_criterion
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(CRITERIA[name]).parameters
    assert CRITERIA[name].__name__ == name
    assert list(parameters)[:2] == ["signals", "units"]
    assert method_of(CRITERIA[name]).kind == "criterion"
    assert parameters["generator"].kind is inspect.Parameter.KEYWORD_ONLY


@every_criterion
@pytest.mark.parametrize("net", NETWORKS)
def test_one_finite_score_per_channel_of_every_group(name, net):
    model, x = network(net)
    graph = trace(model, x)
    scores = call(name, model, x, graph)
    assert {g.name: (g.size,) for g in graph.groups} == {k: tuple(s.shape) for k, s in scores.items()}
    assert all(torch.isfinite(s).all() for s in scores.values())


@every_criterion
@pytest.mark.parametrize("net", NETWORKS)
def test_model_and_gradients_are_untouched(name, net):
    model, x = network(net)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    call(name, model, x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@every_criterion
def test_the_same_seed_gives_the_same_scores(name):
    model, x = network("residual")
    one, two = (call(name, model, x, seed=4) for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", FOLLOW)
def test_scores_follow_a_permutation_of_the_filters(name):
    model, x = network("flattened")
    want = call(name, model, x)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, model[2].weight, model[1].weight, model[1].bias,
                       model[1].running_mean, model[1].running_var):  # fmt: skip
            tensor.copy_(tensor[order].clone())
        weight = model[5].weight.reshape(6, 4, 4)
        weight.copy_(weight[:, order].clone())
    got = call(name, model, x)
    torch.testing.assert_close(got["0"], want["0"][order])
    torch.testing.assert_close(got["5"], want["5"])


def test_random_scores_are_drawn_from_the_generator():
    model, x = network("mlp")
    one, two = (call("random", model, x, seed=s) for s in (1, 2))
    assert not torch.equal(one["0"], two["0"])


@pytest.mark.parametrize(("name", "score"), [
    ("l1_norm", lambda W: W.abs().mean(1)),
    ("l2_norm", lambda W: W.square().mean(1).sqrt()),
])  # fmt: skip
def test_norms_have_their_closed_form(name, score):
    model, x = network("flattened")
    scores = call(name, model, x)
    torch.testing.assert_close(scores["0"], score(model[0].weight.detach().flatten(1)))
    torch.testing.assert_close(scores["5"], score(model[5].weight.detach()))


def test_channels_that_several_layers_make_get_the_mean_over_those():
    model, x = network("residual")
    want = torch.stack(
        [m.weight.detach().flatten(1).abs().mean(1) for m in (model.stem, model.a, model.b)]
    ).mean(0)
    torch.testing.assert_close(call("l1_norm", model, x)["stem"], want)


def test_an_unknown_name_is_told_with_the_nearest():
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match=r"Unknown criterion 'gradient'\. Known: l1_norm, l2_norm"):
        call("gradient", model, x)
    with pytest.raises(IsopruneError, match=r"Unknown criterion 'l2norm'\. Did you mean 'l2_norm'\?"):
        call("l2norm", model, x)


def test_a_function_is_a_criterion():
    model, x = network("mlp")

    def last_first(signals, units, *, generator):
        return {u.name: torch.arange(u.size).double() for u in units}

    scores = call(last_first, model, x)
    assert scores["0"].tolist() == list(range(10))


def gate_slopes(model, layer, x, y, eps=1e-5):
    """Return d loss / d gate of every filter of a layer by central differences, the gate on weights alone."""
    slopes = []
    for i in range(layer.weight.shape[0]):
        values = []
        for sign in (1, -1):
            changed = copy.deepcopy(model)
            with torch.no_grad():
                dict(changed.named_modules())[layer.name].weight[i] *= 1 + sign * eps
                values.append(F.cross_entropy(changed(x), y))
        slopes.append((values[0] - values[1]) / (2 * eps))
    return torch.stack(slopes)


@pytest.mark.parametrize(
    ("net", "name"), [("mlp", "0"), ("mlp", "2"), ("flattened", "0"), ("flattened", "5")]
)
def test_taylor_is_the_slope_of_a_gate_on_each_filter(net, name):
    model, x = network(net)
    y = torch.arange(len(x)) % 5
    layer = dict(model.named_modules())[name]
    layer.name = name
    want = gate_slopes(model, layer, x, y).abs()
    torch.testing.assert_close(call("taylor", model, x)[name], want, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("net", "name"), [("mlp", "2"), ("flattened", "0")])
def test_fisher_is_half_the_mean_square_of_the_slopes_of_single_samples(net, name):
    model, x = network(net)
    y = torch.arange(len(x)) % 5
    layer = dict(model.named_modules())[name]
    layer.name = name
    slopes = torch.stack([gate_slopes(model, layer, x[n : n + 1], y[n : n + 1]) for n in range(len(x))])
    torch.testing.assert_close(
        call("fisher", model, x)[name], slopes.square().mean(0) / 2, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("none", [None, []])
def test_criteria_that_look_at_data_say_so_when_there_is_none(name, none):
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match="batches is empty"):
        scored(name, model, trace(model, x), none)


@pytest.mark.parametrize("name", DATA)
def test_a_loss_that_is_not_finite_is_told(name):
    model, x = network("mlp")
    with torch.no_grad():
        model[0].bias[0] = float("nan")
    with pytest.raises(IsopruneError, match="The loss on the data is nan"):
        call(name, model, x)


@pytest.mark.parametrize("name", DATA)
def test_batches_of_another_size_are_weighed_by_their_samples(name):
    model, _ = network("mlp")
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    y = torch.arange(5)
    graph = trace(model, x)
    one = scored(name, model, graph, [(x, y)])
    cut = scored(name, model, graph, [(x[:1], y[:1]), (x[1:], y[1:])])
    for group in one:
        torch.testing.assert_close(one[group], cut[group])
