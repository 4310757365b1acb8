"""Random networks pruned at random: none may be wrong, by `verify` and by an oracle of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings

from graph.small_networks import randomise_
from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.oracle import difference, zeroed_reads
from pruning.random_networks import Drawn, draws

ORACLE_KNOWS = ("native_layer_norm in", "native_group_norm in", ".norm", "mean in norm")


def built(draw):
    with torch.random.fork_rng():
        torch.random.manual_seed(draw["seed"])
        model = Drawn(draw).double().eval()
        randomise_(model)
        return model, torch.randn(2, 3, 4, 4, dtype=torch.float64)


def oracle_knows(draw, result):
    """Tell whether weights and norm layers are all that reads channels (and products of queries and keys)."""
    if any(name == "Statistic" or (name == "HeadsOver" and a % 3 == 0) for name, a, _ in draw["blocks"]):
        return False
    norms = all(any(known in s for known in ORACLE_KNOWS) for s in result.proof.statistics)
    return norms and all(
        any(m.role == "in" for m in g.members) or "qkv" in g.name for g in result.graph.groups
    )


def check(draw):
    model, x = built(draw)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        result = prune(model, x, draw["ratio"], criterion="random", seed=draw["seed"], **draw["options"])
    except IsopruneError as error:
        if "Nothing was removed" not in str(error):
            raise
        event("nothing could go")
        return
    assert result.proof.relative_error < 1e-10
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for group in result.graph.groups:
        assert len(result.plan.removed.get(group.name, ())) < group.size
    if result.attempts:
        event("something had to be put back")
    if oracle_knows(draw, result):
        assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-9
        event("checked by the oracle")


slow = [HealthCheck.too_slow, HealthCheck.data_too_large]


@given(draws)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=slow)
def test_no_random_network_is_wrong(draw):
    check(draw)


@pytest.mark.matrix
@given(draws)
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=slow)
def test_none_of_four_hundred_random_networks_is_wrong(draw):
    check(draw)


@pytest.mark.long
@given(draws)
@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=slow)
def test_none_of_two_thousand_random_networks_is_wrong(draw):
    check(draw)
