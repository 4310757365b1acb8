"""Rounds: pruned, trained and pruned again; plans compose, numbered as in the dense network."""

from __future__ import annotations

import copy

import pytest
import torch

import isoprune
from graph.small_networks import network
from isoprune.pruning.mask import harden, masks_of
from isoprune.pruning.rounds import inflated
from isoprune.types import IsopruneError, Plan
from pruning.oracle import difference, zeroed_reads
from pruning.test_mask import trained

SMALL = ("depthwise", "residual", "heads", "flattened", "grouped")


@pytest.mark.parametrize("name", SMALL)
def test_two_rounds_are_one_plan_of_the_dense_network(name):
    model, x = network(name)
    once = isoprune.prune(model, x, 0.3)
    twice = isoprune.prune(once, ratio=0.3)
    assert twice.dense is model
    assert twice.graph is once.graph
    for units, gone in once.plan.removed.items():
        assert set(gone) <= set(twice.plan.removed[units])
    assert difference(zeroed_reads(model, twice.graph, twice.plan), twice.model, x) < 1e-10
    assert isoprune.verify(twice).relative_error < 1e-10
    sizes = {name: tuple(p.shape) for name, p in twice.model.named_parameters()}
    shrunk = isoprune.pruning.shrink(model, twice.graph, twice.plan)
    assert sizes == {name: tuple(p.shape) for name, p in shrunk.named_parameters()}
    assert twice.costs.pruned.parameters == sum(p.numel() for p in twice.model.parameters())
    assert len(twice.history) == 2


@pytest.mark.parametrize("name", SMALL)
def test_the_proof_holds_after_training_between_the_rounds(name):
    model, x = network(name)
    small = isoprune.prune(model, x, 0.4)
    before = isoprune.verify(small).scale
    trained(small.model, x, 4).eval()
    small = isoprune.prune(small, ratio=0.3)
    trained(small.model, x, 4).eval()
    proof = isoprune.verify(small)
    assert proof.relative_error < 1e-10
    assert proof.scale != before  # it is the trained network that was looked at


def test_a_proof_fails_for_a_network_of_another_function():
    model, x = network("flattened")
    small = isoprune.prune(model, x, 0.4)
    whole = inflated(model, small.graph, small.plan, small.model)
    assert difference(zeroed_reads(whole, small.graph, small.plan), small.model, x) < 1e-12
    small.model[0].stride = (2, 2)  # what no weight says
    with pytest.raises(IsopruneError):
        isoprune.verify(small)


@pytest.mark.parametrize("grain", ["weight", "kernel", "filter"])
def test_masks_of_rounds_add_up(grain):
    model, x = network("depthwise")
    pruned = isoprune.prune(model, x, 0.5, grain=grain)
    first = pruned.plan
    trained(pruned.model, x, 3)
    pruned = isoprune.prune(pruned, ratio=0.5, grain=grain)
    assert pruned.dense is model
    for name, kept in first.kept.items():
        later = pruned.plan.kept[name]
        assert not (later & ~kept).any()
        left = int(kept.sum())
        assert int(later.sum()) == left - min(-int(-0.5 * left // 1), left - 1)
    assert isoprune.verify(pruned).max_abs_error == 0


def test_rounds_of_masked_channels_are_those_of_shrunk_ones():
    model, x = network("depthwise")
    held, small = (isoprune.prune(model, x, 0.4, mask=mask) for mask in (True, False))
    held, small = isoprune.prune(held, ratio=0.4, mask=True), isoprune.prune(small, ratio=0.4)
    assert held.plan == small.plan
    with torch.no_grad():
        torch.testing.assert_close(held.model(x), small.model(x), rtol=1e-10, atol=1e-12)


def test_a_shrunk_network_can_be_masked():
    model, x = network("depthwise")
    small = isoprune.prune(model, x, 0.4)
    sparse = isoprune.prune(small, ratio=0.5, grain="weight")
    assert sparse.dense is small.model
    assert [step["grain"] for step in sparse.history] == ["channel", "weight"]
    assert isoprune.verify(sparse).max_abs_error == 0


def plan(kept, grain="channel"):
    return Plan({name: torch.tensor(mask, dtype=torch.bool) for name, mask in kept.items()}, grain)


def test_plans_compose_in_the_numbers_of_the_first():
    first, later = plan({"a": [1, 0, 1, 1], "b": [1, 1]}), plan({"a": [0, 1, 1], "c": [1, 0]})
    both = first.then(later)
    assert both.removed == {"a": (0, 1), "c": (1,)}
    assert Plan().then(first) == first
    assert first.then(Plan()).removed == first.removed


def test_composition_is_associative():
    a, b, c = plan({"u": [1, 0, 1, 1, 1]}), plan({"u": [1, 1, 0, 1]}), plan({"u": [0, 1, 1]})
    assert a.then(b).then(c).removed == a.then(b.then(c)).removed == {"u": (0, 1, 3)}


def test_plans_that_do_not_belong_together_are_refused():
    with pytest.raises(IsopruneError, match="belongs to another network"):
        plan({"a": [1, 0, 1]}).then(plan({"a": [1, 0, 1, 1, 0]}))
    with pytest.raises(IsopruneError, match="A plan of channels and one of weights do not make one plan"):
        plan({"a": [1, 0]}).then(plan({"a": [1, 0]}, "weight"))


def test_a_plan_is_plain_data():
    one = plan({"a": [1, 0, 1], "b": [[1, 1], [0, 1]]}, "kernel")
    assert Plan.from_dict(one.as_dict()) == one
    assert not Plan()
    assert one
    with pytest.raises(IsopruneError, match="removes unit 7 of 'a', which has 3"):
        Plan.removing({"a": [7]}, {"a": (3,)})
    with pytest.raises(IsopruneError, match="names units 'z', which are not among a"):
        Plan.removing({"z": [0]}, {"a": (3,)})
    assert copy.deepcopy(one) == one


def test_a_pruned_network_shows_itself():
    model, x = network("depthwise")
    small = isoprune.prune(model, x, 0.5)
    shown = repr(small)
    assert f"{small.costs.pruned.parameters:,}" in shown
    assert f"{small.costs.ratios['flops']:.1%}" in shown
    gone = sum(n for *_, n in small.costs.units)
    assert f"{gone} of {sum(size for _, size, _ in small.costs.units)} channels removed" in shown
    assert "Depthwise: prune" in small._repr_html_()
    held = repr(isoprune.prune(model, x, 0.5, grain="weight"))
    assert "weights held at zero by masks, which save a dense kernel no time" in held


@pytest.mark.parametrize("grain", ["weight", "kernel", "channel"])
def test_rewinding_gives_back_the_weights_of_an_earlier_network_where_the_plan_keeps_them(grain):
    model, x = network("depthwise")
    early = copy.deepcopy(model)
    trained(model, x, 3).eval()
    pruned = isoprune.prune(model, x, 0.5, grain=grain)
    trained(pruned.model, x, 3)
    back = isoprune.rewind(pruned, early)
    assert back.plan == pruned.plan
    want = isoprune.pruning.shrink(early, pruned.graph, pruned.plan) if grain == "channel" else early
    masks = masks_of(back.model)
    for name, tensor in harden(back.model).state_dict().items():
        expected = want.state_dict()[name]
        assert torch.equal(tensor, torch.where(masks[name], expected, 0) if name in masks else expected)
    again = isoprune.rewind(pruned, early.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(again.model.parameters(), back.model.parameters(), strict=True)
    )


def test_rewinding_to_another_network_is_refused():
    model, x = network("depthwise")
    pruned = isoprune.prune(model, x, 0.5)
    state = dict(model.state_dict())
    name = next(iter(state))
    with pytest.raises(IsopruneError, match=f"The earlier network has no {name}"):
        isoprune.rewind(pruned, {k: v for k, v in state.items() if k != name})
    with pytest.raises(IsopruneError, match=f"{name} is .* in the earlier network, "):
        isoprune.rewind(pruned, {**state, name: state[name][:1]})
