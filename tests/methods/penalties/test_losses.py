"""TPP and GReg against their losses as written, and what they do at which step."""

from __future__ import annotations

import itertools

import pytest
import torch

import isoprune
from isoprune.methods.penalties import greg_1, greg_2, tpp
from isoprune.methods.penalties.growth import Growth
from isoprune.pruning.grains import units_of
from isoprune.pruning.mask import masks_of
from isoprune.types.errors import IsopruneError
from methods.penalties import oracles
from methods.penalties.nets import NETS, drawn, example, gradients, planned

every_net = pytest.mark.parametrize("name", NETS)


def same_gradients(got, want, net):
    found = gradients(got, net)
    for name, gradient in gradients(want, net).items():
        torch.testing.assert_close(found[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


@every_net
@pytest.mark.parametrize("step", [1, 9, 10, 57, 100_000, 10**7])
def test_tpp_has_the_gradient_of_the_loss_as_written(name, step):
    net = drawn(name)
    graph, plan = planned(net)
    strength = min(1.0, 1e-4 * (step // 10))
    want = oracles.tpp(net, graph, plan, strength=strength, gram=1000.0)
    same_gradients(tpp(net, plan, graph=graph)(step), want, net)


@every_net
def test_greg_1_has_the_gradient_of_the_loss_as_written(name):
    net = drawn(name)
    graph, plan = planned(net)
    want = oracles.l2(net, graph, plan, gone=1e-4 * 57, kept=0.0)
    same_gradients(greg_1(net, plan, graph=graph)(579), want, net)


@every_net
def test_greg_2_presses_on_all_then_on_those_that_it_chose(name):
    net = drawn(name)
    graph, plan = planned(net)
    # Others go than were planned: as many, by the weights of that moment.
    other = graph.removing({g: tuple(range(len(gone))) for g, gone in plan.removed.items()})
    penalty = greg_2(net, plan, graph=graph, choose=lambda: other, interval=1)
    same_gradients(penalty(999), oracles.l2(net, graph, plan, gone=999e-5, kept=999e-5), net)
    same_gradients(penalty(1000), oracles.l2(net, graph, other, gone=1e-2, kept=-1e-4), net)
    same_gradients(penalty(1007), oracles.l2(net, graph, other, gone=1e-2 + 7e-4, kept=-1e-4), net)
    assert penalty.plan().removed == {g: c for g, c in other.removed.items() if c}


def test_greg_2_chooses_once_and_not_before_the_ceiling():
    net = drawn("plain")
    graph, plan = planned(net)
    asked = []
    penalty = greg_2(
        net, plan, graph=graph, choose=lambda: asked.append(0) or plan, interval=1, pick_growth=1e-3
    )
    for step in range(10):
        penalty(step)
    assert not asked
    for step in range(10, 30):
        penalty(step)
    assert len(asked) == 1


def test_what_the_kept_filters_have_in_common_is_free():
    """Only kept filters made parallel: the Gram term does not move, though their products grow."""
    net = drawn("plain")
    graph, plan = planned(net)
    penalty = tpp(net, plan, graph=graph)
    before = penalty(10**7).item()
    name, gone = next((g, set(c)) for g, c in plan.removed.items() if len(c))
    kept = [i for i in range(graph.group(name).size) if i not in gone]
    W = net[0].weight
    pressed = oracles.gone_rows(net, graph, plan)["0.weight"]
    assert pressed == gone
    products = (W.flatten(1) @ W.flatten(1).T)[kept][:, kept]
    orthogonal = torch.linalg.qr(W[list(gone)].flatten(1).T, mode="complete").Q[:, len(gone)]
    with torch.no_grad():
        for i in kept:
            # Moved where no pruned filter points.
            W[i] += orthogonal.reshape(W[i].shape)
    assert not torch.allclose((W.flatten(1) @ W.flatten(1).T)[kept][:, kept], products)
    assert penalty(10**7).item() == pytest.approx(before, rel=1e-12)


def test_depthwise_filters_are_orthogonal_as_they_are():
    """Of products of different depthwise filters the operator has none: only their own norms count."""
    net = drawn("depthwise")
    graph, plan = planned(net)
    with torch.no_grad():
        kept = sorted(set(range(6)) - set(next(iter(plan.removed.values()))))
        before = tpp(net, plan, graph=graph)(10**7)
        net[3].weight[kept[0]] *= 5  # a kept depthwise filter
        torch.testing.assert_close(tpp(net, plan, graph=graph)(10**7), before)
        net[0].weight[kept[0]] *= 5  # a kept pointwise one, which reads what the pruned ones read
        assert tpp(net, plan, graph=graph)(10**7) > before


@pytest.mark.parametrize("grain", ["filter", "kernel", "vector", "weight", "2:4", "2x3"])
def test_greg_1_presses_on_units_of_any_grain_and_on_nothing_else(grain):
    net = drawn("plain")
    graph, plan = planned(net, grain=grain)
    got = gradients(greg_1(net, plan, graph=graph)(579), net)
    for units in units_of(graph, grain):
        (member,) = units.members
        W = net.get_parameter(units.name).detach()
        kept = plan.kept.get(units.name, torch.ones(units.shape, dtype=torch.bool))
        numbers = torch.arange(units.size).reshape(W.shape) if member.unit is None else member.unit
        stays = torch.tensor([bool(kept.flatten()[i]) for i in numbers.expand(W.shape).flatten().tolist()])
        assert stays.all() == (units.name not in plan.removed)
        want = torch.where(stays.reshape(W.shape), 0, 1e-4 * 57 * W)
        torch.testing.assert_close(got.pop(units.name), want)
    assert all((slope == 0).all() for slope in got.values())  # biases and BatchNorms


def test_tpp_pushes_out_the_filters_of_one_tensor():
    net = drawn("plain")
    graph, plan = planned(net, grain="filter")
    rows = {name: set(gone) for name, gone in plan.removed.items()}
    total = torch.zeros((), dtype=torch.float64)
    for name, gone in rows.items():
        W = net.get_parameter(name).flatten(1)
        G = W @ W.T
        T = G.detach().clone()
        T[list(gone)] = 0
        T[:, list(gone)] = 0
        total = total + 1000 * (G - T).square().mean() + W[list(gone)].square().sum() / 2
    same_gradients(tpp(net, plan, graph=graph)(10**7), total, net)


def test_tpp_knows_whole_filters_only():
    net = drawn("plain")
    graph, plan = planned(net, grain="weight")
    with pytest.raises(IsopruneError, match="tpp pushes out whole filters, and the plan is of weights"):
        tpp(net, plan, graph=graph)


@pytest.mark.parametrize("penalty", [tpp, greg_1])
def test_on_a_masked_network_masked_weights_have_no_part(penalty):
    net = drawn("plain")
    graph, plan = planned(net)
    small = isoprune.prune(net, example(), 0.5, grain="weight").model
    hard = isoprune.harden(small)
    got, want = (gradients(penalty(m, plan, graph=graph)(10**7), m) for m in (small, hard))
    masks = masks_of(small)
    for name, slope in want.items():
        owner, _, key = name.rpartition(".")
        masked_name = f"{owner}.parametrizations.{key}.original"
        if name in masks:
            torch.testing.assert_close(got[masked_name], slope * masks[name])
        else:
            torch.testing.assert_close(got[name], slope)


def test_growth_is_a_staircase_up_to_its_ceiling():
    grows = Growth(0.25, 5, 1.0)
    assert [grows.at(t) for t in (0, 4, 5, 9, 10, 19, 20, 400)] == [0, 0, 0.25, 0.25, 0.5, 0.75, 1, 1]
    assert grows.steps == 20
    assert (grows.at(grows.steps - 1), grows.at(grows.steps)) == (0.75, 1.0)
    assert Growth(1e-4, 10, 1.0).steps == 100_000


@pytest.mark.parametrize(
    "options", [{"growth": 0.0}, {"growth": 2.0}, {"interval": 0}, {"ceiling": float("inf")}]
)
def test_a_growth_that_cannot_be_is_refused(options):
    net = drawn("plain")
    graph, plan = planned(net)
    with pytest.raises(IsopruneError, match="Take 0 < growth <= ceiling, interval >= 1"):
        tpp(net, plan, graph=graph, **options)


def test_greg_1_ends_its_growth_where_the_pruned_weights_have_faded():
    net = drawn("plain")
    graph, plan = planned(net)
    penalty = greg_1(net, plan, graph=graph, interval=10, enough=100.0)
    rows = oracles.gone_rows(net, graph, plan)
    for step in range(0, 200, 10):
        penalty(step)
    assert penalty.ended == -1
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter[list(rows.get(name, ()))] *= 1e-9
    ended = next(step for step in range(200, 2000, 10) if penalty(step) is not None and penalty.ended != -1)
    strengths = [oracles.l2(net, graph, plan, gone=1e-4 * (ended // 10), kept=0.0), penalty(10**6)]
    torch.testing.assert_close(*strengths)


def test_after_the_growth_layers_are_zeroed_one_after_the_other():
    net = drawn("plain")
    graph, plan = planned(net)
    penalty = tpp(net, plan, graph=graph, growth=0.5, interval=1, stabilise=100, zero_every=10)
    rows = oracles.gone_rows(net, graph, plan)
    layers = [["0.weight", "0.bias", "1.weight", "1.bias"], ["3.weight", "3.bias"], ["6.weight", "6.bias"]]
    parameters = dict(net.named_parameters())
    assert sorted(rows) == sorted(itertools.chain(*layers))
    kept = {n: parameters[n].detach().clone() for n in rows}
    for step in range(2 + 30):
        penalty.after_(step)
        done = max(step + 1 - 2, 0) // 10
        for i, names in enumerate(layers):
            for name in names:
                values = parameters[name][list(rows[name])]
                assert bool((values == 0).all()) == (i < done)
    for name in rows:
        stay = [i for i in range(len(kept[name])) if i not in rows[name]]
        assert torch.equal(parameters[name][stay], kept[name][stay])


def test_a_transposed_convolution_in_groups_is_refused_by_name():
    widths = ((3, 8, 1), (8, 8, 4))
    net = torch.nn.Sequential(*(torch.nn.ConvTranspose2d(a, b, 3, groups=g) for a, b, g in widths))
    net.append(torch.nn.Conv2d(8, 2, 1))
    small = isoprune.prune(net.eval(), torch.randn(1, 3, 4, 4), 0.5)
    with pytest.raises(IsopruneError, match=r"1\.weight is a transposed convolution in groups"):
        greg_1(net, small.plan, graph=small.graph)
