"""What every sanity check promises: it changes what it says, and nothing else."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
from repaired_networks import NETWORKS, WAYS, batches, networks, pruned, trained

import isoprune
from isoprune.methods.checks import CHECKS, PLAN_CHECKS, WEIGHT_CHECKS
from isoprune.methods.layers.weights import weights
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.mask import masks_of
from isoprune.pruning.plan import numbers_kept
from isoprune.reproduction.sanity import checked
from isoprune.types import IsopruneError, Plan, Units
from isoprune.types.method import method_of

GRAINS = ("channel", "filter", "kernel", "vector", "weight", "2x3")
cases = pytest.mark.parametrize(
    ("name", "grain"),
    [(n, g) for n, f in PLAN_CHECKS.items() for g in GRAINS if read_grain(g).name in method_of(f).grains],
)


@functools.cache
def small(net, grain):
    return isoprune.prune(trained(NETWORKS[net]), batches()[0][0][:2], 0.5, grain=grain)


@pytest.mark.parametrize("name", CHECKS)
def test_the_table_knows_functions_by_their_names_and_signature(name):
    function = CHECKS[name]
    assert (name in PLAN_CHECKS) != (name in WEIGHT_CHECKS)
    assert function.__name__ == name
    assert inspect.signature(function).parameters["generator"].kind is inspect.Parameter.KEYWORD_ONLY
    assert method_of(function).kind == "check"


@cases
@pytest.mark.parametrize("net", ["convolutional", "Attends"])
def test_as_many_units_stay_in_all_and_they_are_others(name, grain, net):
    made = small(net, grain)
    units = units_of(made.graph, grain)
    before = {key: mask.clone() for key, mask in made.plan.kept.items()}
    state = torch.get_rng_state()
    plan, again = (
        PLAN_CHECKS[name](made.plan, units, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(mask, before[key]) for key, mask in made.plan.kept.items())
    assert plan == again
    assert plan.removed != made.plan.removed
    assert (plan.grain, plan.request) == (made.plan.grain, made.plan.request)
    was, now = numbers_kept(units, made.plan), numbers_kept(units, plan)
    assert sum(was.values()) == sum(now.values())
    assert all(now.values())
    assert (was == now) == (name == "mask_shuffle")


@cases
def test_its_network_is_proven_and_has_the_dense_weights_where_it_keeps_them(name, grain):
    made = small("convolutional", grain)
    other = checked(made, name, 3)
    assert isoprune.verify(other).max_abs_error < 1e-9
    if grain == "channel":
        return
    dense = dict(other.dense.named_parameters())
    for tensor, kept in masks_of(other.model).items():
        owner, _, key = tensor.rpartition(".")
        now = getattr(other.model.get_submodule(owner), key)
        assert torch.equal(now, torch.where(kept, dense[tensor], 0))


def test_each_unit_is_equally_likely_to_stay():
    made = small("mlp", "weight")
    units, runs = units_of(made.graph, "weight"), 400
    for name in ("mask_shuffle", "random_ticket"):
        generator = torch.Generator().manual_seed(0)
        plans = [PLAN_CHECKS[name](made.plan, units, generator=generator) for _ in range(runs)]
        share = torch.stack([p.kept["1.weight"].double() for p in plans]).mean(0)
        # 192 binomial shares around a half: one further off than 5 standard deviations is 1 in 10,000 tests.
        assert (share - 0.5).abs().max() < 5 * (0.25 / runs) ** 0.5


def test_smart_ratios_follow_their_rule():
    units = [Units(f"{i}", "weight", (size,), ()) for i, size in enumerate((400, 300, 1000, 200))]
    many = Plan({"2": torch.arange(1000) < 100}, "weight")
    few = Plan({u.name: torch.arange(u.size) < u.size // 5 for u in units}, "weight")
    generator = torch.Generator().manual_seed(0)
    kept = numbers_kept(units, PLAN_CHECKS["smart_ratios"](few, units, generator=generator))
    # Of 380 that stay 60 are the classifier's; l of L = 4 keeps a part like (L - l + 1)^2 + (L - l + 1).
    factor = 320 / (20 * 400 + 12 * 300 + 6 * 1000)
    want = {"0": factor * 20 * 400, "1": factor * 12 * 300, "2": factor * 6 * 1000, "3": 60}
    assert all(abs(kept[name] - number) < 1 for name, number in want.items())
    # Of 1000, 940 go to the others: what the first cannot hold the next two share.
    kept = numbers_kept(units, PLAN_CHECKS["smart_ratios"](many, units, generator=generator))
    assert (kept["0"], kept["3"], sum(kept.values())) == (400, 60, 1000)
    assert kept["1"] == pytest.approx(540 * 3600 / 9600, abs=1)


@pytest.mark.parametrize(("net", "way"), [(net, way) for way in WAYS for net in networks(way)])
def test_weights_are_shuffled_in_their_place(net, way):
    made = pruned(net, way)
    new = isoprune.repair(made, WEIGHT_CHECKS["weight_shuffle"], seed=1).model
    moved = 0
    for old, now in zip(weights(made.model), weights(new), strict=True):
        a, b = (w.parameter.detach()[... if w.mask is None else w.mask] for w in (old, now))
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)
        assert all(torch.equal(x, y) for x, y in [(old.mask, now.mask)] if x is not None)
        moved += int((a != b).sum())
    assert moved > 0
    changed = {id(w.parameter) for w in weights(new)}
    others = [(n, p) for n, p in new.named_parameters() if id(p) not in changed]
    before = dict(made.model.named_parameters())
    assert others
    assert all(torch.equal(p, before[n]) for n, p in others)


def test_a_grain_that_a_check_does_not_know_is_refused():
    made = isoprune.prune(trained(NETWORKS["mlp"]), batches()[0][0][:2], grain="2:4")
    with pytest.raises(IsopruneError, match=r"mask_shuffle does not know the grain 2:4\. Leave it out"):
        checked(made, "mask_shuffle", 0)
