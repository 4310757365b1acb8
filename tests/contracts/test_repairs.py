"""What every repair promises, for every entry of the table at every grain, on networks really pruned."""

from __future__ import annotations

import copy
import functools
import inspect
from dataclasses import replace

import pytest
import torch
from repaired_networks import WAYS, batches, grain_of, in_order, networks, permuted, pruned
from torch import nn

import isoprune
from isoprune.methods.layers.stored import stored
from isoprune.methods.repairs import REPAIRS
from isoprune.pruning.mask import masks_of
from isoprune.pruning.pruned import as_pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method_of, takes_steps
from isoprune.types.methods import Repaired
from isoprune.verbs.repair import require_needs

every_repair = pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS.keys())
# Blocks that stay can be too few for as many orthonormal filters.
NO_ROOM = [("exact_orthogonal_sparse", name, "blocks masked") for name in ("mlp", "Attends")]
USUAL = ("channels gone", "channels masked", "weights masked")
# Half of the time of all: these are for every run in the usual ways, `reconstruct` that they use in all.
LONG = ("auto", "refit", "polish", "rescale", "approximate_isometry")


def ways_of(known=lambda _name, _way: True, *, often=tuple(WAYS)):
    """Return each repair with all ways that it knows, of all networks that lose units so.

    Of the ways in ``often`` the first network is for every run, of repairs in ``LONG`` of ``USUAL`` ones; the
    rest goes with the matrix.
    """

    def case(key, i, name, way):
        seldom = way not in often or (key in LONG and way not in USUAL)
        marks = [pytest.mark.matrix] * (i > 0 or seldom)
        return pytest.param(REPAIRS[key], name, way, marks=marks, id=f"{key}-{name}-{way}")

    return pytest.mark.parametrize(
        ("repair", "name", "way"),
        [
            case(key, i, name, way)
            for key, f in REPAIRS.items()
            for way in WAYS
            if grain_of(way) in method_of(f).grains
            for i, name in enumerate(networks(way))
            if known(name, way) and (key, name, way) not in NO_ROOM
        ],
    )


@pytest.fixture(scope="module")
def results():
    return functools.cache(pruned)


# Of those that go on for long. Toward a flat minimum L-BFGS makes 1e-3 of rounding in 200 steps, in 50 1e-12.
FEW = {"train_samples": 240, "sweeps": 4, "steps": 50}


def call(repair, result, seed=0, data=True):
    generator = torch.Generator().manual_seed(seed)
    taken = inspect.signature(repair).parameters
    options = {key: few for key, few in FEW.items() if key in taken and isinstance(taken[key].default, int)}
    made = repair(result, Signals(result.model, batches() if data else None), generator=generator, **options)
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


@ways_of(often=tuple(way for way in WAYS if grain_of(way) not in ("vector", "kernel")))
def test_gives_a_new_network_of_the_same_shape_and_masks_and_leaves_the_old(repair, name, way, results):
    result = results(name, way)
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
    for module in (m for net in (new, result.model, result.dense) for m in net.modules()):
        assert not module._forward_hooks
        assert "forward" not in vars(module)
    again = everything(call(repair, result))
    assert all(torch.equal(tensor, again[key]) for key, tensor in made.items()), "not by the seed"


@ways_of(often=("channels masked",))
def test_it_is_still_the_network_of_its_plan(repair, name, way, results):
    isoprune.verify(replace(results(name, way), model=call(repair, results(name, way))))


# These change no outputs; what compares with the dense network changes none where nothing went.
SAME = ("none", "balance", "chain")
WHOLE = [(name, "channels gone") for name in networks("channels gone")]
WHOLE += [("convolutional", "weights masked"), ("heads", "heads masked")]


@pytest.mark.parametrize(
    ("repair", "name", "way"),
    [
        pytest.param(f, name, way, marks=[pytest.mark.matrix] * (name in ("Residual", "Attends")))
        for key, f in REPAIRS.items()
        if "dense" in method_of(f).needs or key in SAME
        for name, way in WHOLE
        if grain_of(way) in method_of(f).grains
    ],
)
def test_where_nothing_went_outputs_stay(repair, name, way, results):
    result = results(name, way, 0)
    x = torch.cat([x for x, _ in batches()])
    torch.testing.assert_close(call(repair, result)(x), result.model(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, way) for name, f in REPAIRS.items() for way in WAYS if grain_of(way) not in method_of(f).grains],
)
def test_a_grain_that_a_repair_does_not_know_is_refused_by_its_name(name, way, results):
    result = results(next(iter(networks(way))), way)
    for asked in (name, ["none", name]):
        with pytest.raises(IsopruneError, match=f"^Repair '{name}' .* Take '[a-z]+', which .+$"):
            isoprune.repair(result, asked, batches=batches())
    with pytest.raises(IsopruneError, match=f"^Repair '{name}' "):
        call(functools.partial(REPAIRS["chain"], steps=[REPAIRS[name]]), result)


@pytest.mark.parametrize(("repair", "name", "way"), NO_ROOM)
def test_what_a_mask_leaves_no_room_for_is_refused_by_the_layer(repair, name, way, results):
    with pytest.raises(IsopruneError, match=r"^[\w.]+: The mask leaves no room .+$"):
        isoprune.repair(results(name, way), repair)


@every_repair
def test_keeps_what_is_frozen_frozen(repair, results):
    result = results("mlp", "channels gone")
    result = replace(result, model=copy.deepcopy(result.model))
    result.model[-1].weight.requires_grad_(False)
    new = call(repair, result)
    assert [p.requires_grad for p in new.parameters()] == [p.requires_grad for p in result.model.parameters()]


@ways_of(
    lambda name, way: name in ("mlp", "convolutional") and grain_of(way) not in ("vector", "kernel"),
    often=USUAL,
)
def test_is_finite_with_dead_filters(repair, name, way, results):
    result = results(name, way)
    result = replace(result, model=copy.deepcopy(result.model))
    with torch.no_grad():
        for module in result.model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                stored(module, "weight")[[0, -1]] = 0
    new = call(repair, result)
    assert all(torch.isfinite(parameter).all() for parameter in new.parameters())
    assert torch.isfinite(new(batches()[0][0])).all()
    assert zeros_held(new)


@ways_of(lambda name, way: name == "mlp" and grain_of(way) not in ("vector", "kernel"), often=USUAL)
def test_follows_a_filter_permutation_or_says_that_it_does_not(repair, name, way, results):
    result = results(name, way)
    other, order = permuted(result, torch.randperm(12, generator=torch.Generator().manual_seed(1)))
    a, b = in_order(call(repair, result).state_dict(), order), call(repair, other).state_dict()
    # Least squares divides rounding by its weakest pull, 1e-6; a descent under a mask multiplies it.
    close = {"rtol": 1e-8, "atol": 1e-9 if grain_of(way) == "channel" else 1e-6}
    follows = all(torch.allclose(a[key], b[key], **close) for key in a)
    assert follows == method_of(repair).follows_order


@every_repair
def test_draws_from_its_generator_alone(repair, results):
    result = results("convolutional", "channels gone")
    a, b = (call(repair, result, seed).state_dict() for seed in (0, 1))
    if any(not torch.equal(a[key], b[key]) for key in a):
        source = inspect.getsource(repair)
        assert source.count("generator") > 1, "it draws from something else than its generator"


@every_repair
def test_works_with_what_it_needs_and_says_what_is_missing(repair, results):
    needs, result = method_of(repair).needs, results("mlp", "channels gone")
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
        isoprune.repair(results("mlp", "weights masked"), forgetful)
