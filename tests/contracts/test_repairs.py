"""What every repair promises, checked on every entry of the table, on networks that were really pruned."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from repaired_networks import NETWORKS, WAYS, batches, in_order, permuted, pruned
from torch import nn

import isoprune
from isoprune.methods.repairs import REPAIRS
from isoprune.methods.repairs.repaired import Repaired
from isoprune.methods.repairs.stored import stored
from isoprune.pruning.mask import masks_of
from isoprune.pruning.pruned import as_pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method_of, takes_steps
from isoprune.verbs.repair import require_needs

every_repair = pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS.keys())
every_way = pytest.mark.parametrize("way", WAYS)


def ways_of(names):
    """Return all ways of all networks; those of further networks under masks go with the matrix."""
    return pytest.mark.parametrize(
        ("name", "way"),
        [
            pytest.param(n, way, marks=pytest.mark.matrix)
            if n != "mlp" and way != "channels gone"
            else (n, way)
            for n in names
            for way in WAYS
        ],
    )


@pytest.fixture(scope="module")
def results():
    return {(name, way): pruned(name, way) for name in NETWORKS for way in WAYS}


def call(repair, result, seed=0, data=True):
    generator = torch.Generator().manual_seed(seed)
    made = repair(result, Signals(result.model, batches() if data else None), generator=generator)
    done = Repaired.of(made)
    assert not done.trained or takes_steps(repair), "it trains, and no option of `TRAINS` says so"
    return done.model


def everything(net):
    return {**net.state_dict(), **{f"masked {k}": v for k, v in masks_of(net).items()}}


def zeros_held(net):
    """Return whether each masked tensor that the forward reads is zero where its mask says so."""
    return all(
        not getattr(net.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])[~kept].any()
        for name, kept in masks_of(net).items()
    )


@pytest.mark.parametrize("name", REPAIRS)
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(REPAIRS[name]).parameters
    assert REPAIRS[name].__name__ == name
    assert list(parameters)[:3] == ["pruned", "signals", "generator"]
    assert all(p.default is not p.empty for p in list(parameters.values())[3:]), "options have defaults"
    assert not {"network", "method", "batches", "task", "seed"} & set(parameters), "words of isoprune.repair"


@ways_of(NETWORKS)
@every_repair
def test_gives_a_new_network_of_the_same_shape_and_masks_and_leaves_the_old(repair, name, way, results):
    result = results[name, way]
    before, dense = copy.deepcopy(everything(result.model)), copy.deepcopy(everything(result.dense))
    state = torch.get_rng_state()
    new = call(repair, result)
    assert torch.equal(torch.get_rng_state(), state), "drew from the global generator"
    assert new is not result.model
    old, made = everything(result.model), everything(new)
    assert list(before) == list(made)
    for key, was in before.items():
        assert torch.equal(old[key], was), f"{key} of the pruned network changed"
        now = made[key]
        assert (was.shape, was.dtype, was.device) == (now.shape, now.dtype, now.device)
        assert not key.startswith("masked") or torch.equal(was, now), f"{key}: another mask"
        assert torch.isfinite(now).all()
        assert now.data_ptr() != old[key].data_ptr(), f"{key} is shared"
    assert all(
        torch.equal(was, tensor)
        for was, tensor in zip(dense.values(), everything(result.dense).values(), strict=True)
    )
    assert zeros_held(new)
    assert torch.isfinite(new(batches()[0][0])).all()
    assert all(p.grad is None for p in [*new.parameters(), *result.model.parameters()])
    assert [m.training for m in new.modules()] == [m.training for m in result.model.modules()]
    again = everything(call(repair, result))
    assert all(torch.equal(tensor, again[key]) for key, tensor in made.items()), "not by the seed"


@every_repair
def test_keeps_what_is_frozen_frozen(repair):
    result = pruned("mlp")
    result.model[-1].weight.requires_grad_(False)
    new = call(repair, result)
    assert [p.requires_grad for p in new.parameters()] == [p.requires_grad for p in result.model.parameters()]


@ways_of(["mlp", "convolutional"])
@every_repair
def test_is_finite_with_dead_filters(repair, name, way):
    result = pruned(name, way)
    with torch.no_grad():
        for module in result.model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                stored(module, "weight")[[0, -1]] = 0
    new = call(repair, result)
    assert all(torch.isfinite(parameter).all() for parameter in new.parameters())
    assert torch.isfinite(new(batches()[0][0])).all()
    assert zeros_held(new)


@every_way
@every_repair
def test_follows_a_filter_permutation_or_says_that_it_does_not(repair, way, results):
    result = results["mlp", way]
    other, order = permuted(result, torch.randperm(12, generator=torch.Generator().manual_seed(1)))
    a, b = in_order(call(repair, result).state_dict(), order), call(repair, other).state_dict()
    # Least squares divides rounding by its weakest pull, 1e-6; a descent under a mask multiplies it.
    close = {"rtol": 1e-8, "atol": 1e-6 if way == "weights masked" else 1e-9}
    follows = all(torch.allclose(a[key], b[key], **close) for key in a)
    assert follows == method_of(repair).follows_order


@every_repair
def test_draws_from_its_generator_alone(repair, results):
    result = results["convolutional", "channels gone"]
    a, b = (call(repair, result, seed).state_dict() for seed in (0, 1))
    if any(not torch.equal(a[key], b[key]) for key in a):
        source = inspect.getsource(repair)
        assert source.count("generator") > 1, "it draws from something else than its generator"


@every_repair
def test_works_with_what_it_needs_and_says_what_is_missing(repair, results):
    needs, result = method_of(repair).needs, results["mlp", "channels gone"]
    assert method_of(repair).kind == "repair"
    assert needs <= {"data", "dense", "plan"}
    call(repair, result if "dense" in needs else as_pruned(result.model), data="data" in needs)
    require_needs(repair, result, batches())
    if "data" in needs:
        with pytest.raises(IsopruneError, match=f"Repair '{repair.__name__}' looks at data, and batches is"):
            require_needs(repair, result, None)
    if "dense" in needs:
        with pytest.raises(IsopruneError, match=f"Repair '{repair.__name__}' looks at the network before"):
            require_needs(repair, as_pruned(result.model), batches())


def test_a_repair_of_ones_own_must_keep_masks(results):
    def forgetful(pruned, signals, *, generator):
        return isoprune.pruning.mask.harden(pruned.model)

    with pytest.raises(IsopruneError, match=r"the mask of 1.weight is gone or another"):
        isoprune.repair(results["mlp", "weights masked"], forgetful)
