"""What every measure promises, checked on every entry of the table, on networks that were really pruned."""

from __future__ import annotations

import functools
import inspect
import math

import pytest
import torch
from repaired_networks import NETWORKS, WAYS, batches, networks, permuted, pruned, trained

import isoprune
from isoprune.methods.measures import MEASURES
from isoprune.types import IsopruneError
from isoprune.types.method import method_of

FOLLOW = [name for name, f in MEASURES.items() if method_of(f).follows_order]
DATA = [name for name, f in MEASURES.items() if "data" in method_of(f).needs]
LABELS = [name for name, f in MEASURES.items() if "labels" in method_of(f).needs]
DENSE = [name for name, f in MEASURES.items() if "dense" in method_of(f).needs]


def measured(network, names=None, data=None, **options):
    return isoprune.measures(network, batches() if data is None else data, names=names, **options)


pruned_once = functools.cache(pruned)


@functools.cache
def whole(net, way="channels gone"):
    """Return all that is measured of a network, once for all tests."""
    return measured(pruned_once(net, way))


@functools.cache
def keys(name):
    """Return the numbers that a measure gives."""
    return measured(pruned_once("convolutional"), [name]).numbers.keys()


def followed(numbers, but=()):
    """Return the numbers that the order of filters does not change."""
    return {key: numbers[key] for name in FOLLOW if name not in but for key in keys(name)}


@pytest.mark.parametrize("name", MEASURES)
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(MEASURES[name]).parameters
    assert MEASURES[name].__name__ == name
    assert list(parameters)[:2] == ["pruned", "signals"]
    assert parameters["generator"].kind is inspect.Parameter.KEYWORD_ONLY
    assert all(p.default is not p.empty for p in list(parameters.values())[3:])
    assert method_of(MEASURES[name]).kind == "measure"


USUAL = ("channels gone", "channels masked", "weights masked")


def of_ways(net, way):
    """Return a case; every run sees each network with channels gone, and the first one in the usual ways."""
    often = way == USUAL[0] or (way in USUAL and net == next(iter(networks(way))))
    return pytest.param(net, way, marks=[pytest.mark.matrix] * (not often), id=f"{net}-{way}")


@pytest.mark.parametrize(("net", "way"), [of_ways(net, way) for way in WAYS for net in networks(way)])
def test_all_numbers_are_finite(net, way):
    found = whole(net, way)
    assert not found.refused
    assert found.seconds.keys() == MEASURES.keys()
    for key, value in found.numbers.items():
        assert value is not None, key
        assert math.isfinite(value), key


def test_every_measure_alone_gives_numbers_of_its_own_name_which_do_not_depend_on_the_others():
    each = [measured(pruned_once("convolutional"), [name]).numbers for name in MEASURES]
    assert functools.reduce(lambda a, b: {**a, **b}, each) == whole("convolutional").numbers
    assert sum(map(len, each)) == len(whole("convolutional").numbers)
    assert all(found and len(set(found)) == len(found) for found in each)


@pytest.mark.parametrize("name", MEASURES)
def test_network_gradients_modes_and_random_numbers_are_untouched(name):
    small = pruned("convolutional", "weights masked")
    for model in (small.model, small.dense):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        model.train()
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in (small.model, small.dense)]
    state = torch.get_rng_state()
    assert measured(small, [name]).seconds
    assert torch.equal(state, torch.get_rng_state())
    for model, was in zip((small.model, small.dense), before, strict=True):
        assert all(torch.equal(v, was[k]) for k, v in model.state_dict().items())
        assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
        assert all(p.requires_grad for p in model.parameters())
        assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_network_in_train_mode_is_measured_as_in_eval_mode():
    small = pruned("convolutional")
    small.model.train()
    small.dense.train()
    assert measured(small).numbers == whole("convolutional").numbers


@pytest.mark.parametrize("way", USUAL)
def test_numbers_do_not_depend_on_the_order_of_filters(way):
    other, _ = permuted(pruned("mlp", way), torch.randperm(12, generator=torch.Generator().manual_seed(1)))
    got, want = (followed(found.numbers) for found in (measured(other), whole("mlp", way)))
    assert got == pytest.approx(want, rel=1e-6)


# Not of an attention: where its heads get narrower, the queries' weights make up for the scale of the scores.
@pytest.mark.parametrize("net", ["mlp", "convolutional", "Residual"])
def test_channels_gone_and_channels_masked_give_the_same_numbers(net):
    gone, masked = (
        followed(whole(net, f"channels {way}").numbers, but=["size"]) for way in ("gone", "masked")
    )
    assert masked == pytest.approx(gone, rel=1e-6, abs=1e-9)


def test_batches_cut_otherwise_give_the_same_numbers():
    (x, y), (u, v) = batches()
    one = measured(pruned("convolutional"), data=[(torch.cat([x, u]), torch.cat([y, v]))])
    assert one.numbers == pytest.approx(whole("convolutional").numbers, rel=1e-6)


def test_batches_that_can_be_read_once_do():
    assert measured(pruned("mlp"), data=(batch for batch in batches())).numbers == whole("mlp").numbers


@pytest.mark.parametrize("name", DATA)
def test_without_data_it_is_refused(name):
    found = isoprune.measures(pruned_once("mlp"), names=[name])
    assert found.refused[name].startswith(f"The measure {name!r} looks at data, and batches is None.")
    assert "batches is empty" in measured(pruned_once("mlp"), [name], []).refused[name]


@pytest.mark.parametrize("name", LABELS)
def test_without_labels_it_is_refused(name):
    found = measured(pruned_once("mlp"), [name], [(x,) for x, _ in batches()])
    assert found.refused[name].startswith(f"The measure {name!r} reads labels")
    assert not found.numbers


@pytest.mark.parametrize("name", DENSE)
def test_without_the_dense_network_it_is_refused(name):
    assert (
        "compares with the network before pruning" in measured(trained(NETWORKS["mlp"]), [name]).refused[name]
    )


def test_all_that_needs_no_dense_network_is_told_of_a_module():
    found = measured(trained(NETWORKS["convolutional"]))
    assert found.refused.keys() == set(DENSE)
    assert found.numbers["parameters_left"] == found.numbers["flops_left"] == 1


def test_a_measure_of_one_s_own_and_its_options():
    def largest(pruned, signals, *, generator, power: int = 1):
        return {
            "largest": max(float(w.abs().max()) for w in signals.weights.values()) ** power,
            "nan": math.nan,
        }

    small = pruned("mlp")
    found = measured(small, [largest, functools.partial(MEASURES["loss"], samples=3)])
    assert found.numbers["largest"] == max(float(p.detach().abs().max()) for p in small.model.parameters())
    assert found.numbers["nan"] is None
    assert found.numbers["loss"] != measured(small, ["loss"]).numbers["loss"]
    assert found.seconds.keys() == {"largest", "loss"}
    squared = measured(small, [functools.partial(largest, power=2)])
    assert squared.numbers["largest"] == pytest.approx(found.numbers["largest"] ** 2)
    assert str(found).splitlines()[1].split() == ["nan", "-"]


def test_wrong_names_are_refused_and_failures_end_nothing():
    with pytest.raises(IsopruneError, match=r"Unknown measure 'jvs'\. Did you mean 'jsv'\?"):
        measured(pruned("mlp"), ["jvs"])
    with pytest.raises(IsopruneError, match="Two measures give 'loss'"):
        measured(pruned("mlp"), ["loss", "loss"])

    def stumbles(pruned, signals, *, generator):
        raise RuntimeError("no such thing")

    found = measured(pruned("mlp"), [stumbles, "size"])
    assert found.refused == {"stumbles": "It failed on this network: RuntimeError: no such thing"}
    assert found.numbers["parameters_left"] < 1
