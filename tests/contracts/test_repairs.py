"""What every repair promises, checked on every entry of the table."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace

import pytest
import torch
from torch import nn

from isoprune.methods.repairs import REPAIRS
from isoprune.pruning.pruned import as_pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method_of
from isoprune.verbs.repair import require_needs

every_repair = pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS.keys())


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 14), nn.ReLU(), nn.Linear(14, 20),
    )  # fmt: skip


def network(build=convolutional, dtype=torch.float64):
    """Return a network as after training: no parameter and no statistic at its initial value."""
    with torch.random.fork_rng():
        torch.random.manual_seed(5)
        net = build().to(dtype).eval()
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.data += 0.1 * torch.rand_like(tensor)
    return net


def batches(dtype=torch.float64):
    x = torch.randn(6, 1, 4, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return [(x, torch.arange(6) % 4)]


def call(repair, pruned, seed=0, dense=None, **options):
    like = mlp if isinstance(pruned[0], nn.Flatten) else convolutional
    known = replace(as_pruned(pruned), dense=network(like) if dense is None else dense)
    generator = torch.Generator().manual_seed(seed)
    return repair(known, Signals(pruned, batches()), generator=generator, **options)


@pytest.mark.parametrize("name", REPAIRS)
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(REPAIRS[name]).parameters
    assert REPAIRS[name].__name__ == name
    assert list(parameters)[:3] == ["pruned", "signals", "generator"]
    assert all(p.default is not p.empty for p in list(parameters.values())[3:]), "options have defaults"
    assert not {"network", "method", "batches", "task", "seed"} & set(parameters), (
        "a word of isoprune.repair's own"
    )


@every_repair
@pytest.mark.parametrize("build", [mlp, convolutional])
def test_gives_a_new_network_of_the_same_shape_and_leaves_the_old(repair, build):
    pruned = network(build)
    pruned[-1].weight.requires_grad_(False)
    before = copy.deepcopy(pruned.state_dict())
    state = torch.get_rng_state()
    new = call(repair, pruned)
    assert new is not pruned
    assert type(new) is type(pruned)
    for (name, a), b, c in zip(
        pruned.state_dict().items(), new.state_dict().values(), before.values(), strict=True
    ):
        assert torch.equal(a, c), f"{name} of the pruned network changed"
        assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
        assert a.data_ptr() != b.data_ptr(), f"{name} is shared"
    for a, b in zip(pruned.parameters(), new.parameters(), strict=True):
        assert a.requires_grad == b.requires_grad
        assert b.grad is None
    assert [m.training for m in new.modules()] == [m.training for m in pruned.modules()]
    assert torch.equal(torch.get_rng_state(), state), "drew from the global generator"


@every_repair
@pytest.mark.parametrize("build", [mlp, convolutional])
def test_is_finite_and_alive_with_dead_filters(repair, build):
    pruned = network(build)
    for module in pruned:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.weight.data[[0, -1]] = 0
    new = call(repair, pruned)
    for parameter in new.parameters():
        assert torch.isfinite(parameter).all()
    assert torch.isfinite(new(batches()[0][0])).all()


def permuted(net, order):
    """Return the MLP with its first hidden layer's neurons in another order: the same function."""
    net = copy.deepcopy(net)
    net[1].weight.data, net[1].bias.data = net[1].weight.data[order], net[1].bias.data[order]
    net[3].weight.data = net[3].weight.data[:, order]
    return net


@every_repair
def test_follows_a_filter_permutation_or_says_why_not(repair):
    net = network(mlp)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    a = permuted(call(repair, net), order).state_dict()
    # The dense network's filters come in the order of the pruned one's.
    b = call(repair, permuted(net, order), dense=permuted(net, order)).state_dict()
    # Least squares divides rounding by its weakest pull, 1e-6.
    follows = all(torch.allclose(a[key], b[key], rtol=1e-8, atol=1e-9) for key in a)
    assert follows == method_of(repair).follows_order


@every_repair
def test_is_decided_by_the_generator(repair):
    net = network()
    a, b, c = (call(repair, net, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for key in a)
    source = inspect.getsource(repair)
    if any(not torch.equal(a[key], c[key]) for key in a):
        assert source.count("generator") > 1, "it draws from something else than its generator"


@every_repair
def test_works_with_what_it_needs_and_says_what_is_missing(repair):
    needs = method_of(repair).needs
    assert method_of(repair).kind == "repair"
    assert needs <= {"data", "dense", "plan"}
    known = replace(as_pruned(network()), dense=network())
    given = batches() if "data" in needs else None
    pruned = known if "dense" in needs else as_pruned(known.model)
    repair(pruned, Signals(pruned.model, given), generator=torch.Generator().manual_seed(0))
    require_needs(repair, pruned, given)
    if "data" in needs:
        with pytest.raises(IsopruneError, match=f"Repair '{repair.__name__}' looks at data, and batches is"):
            require_needs(repair, pruned, None)
    if "dense" in needs:
        with pytest.raises(IsopruneError, match=f"Repair '{repair.__name__}' looks at the network before"):
            require_needs(repair, as_pruned(pruned.model), given)
