"""What every penalty promises, for every entry of the table, every kind of layer, every grain it knows."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch

from isoprune.methods.penalties import PENALTIES, Penalty, steps_needed
from isoprune.types import Plan
from isoprune.types.method import method_of
from methods.penalties.nets import NETS, drawn, gradients, planned

PRUNING = [name for name, f in PENALTIES.items() if method_of(f).removes]
SPARSE = ("group_lasso", "slimming", "sss")  # they press everything to zero
BARE = [("slimming", "grouped"), ("sss", "grouped")]
LATE = 10_000_000  # a step at which everything has grown as far as it does


def made(name: str, net, graph, plan: Plan) -> Penalty:
    taken = inspect.signature(PENALTIES[name]).parameters
    offered = {"graph": graph, "choose": lambda: plan}
    return PENALTIES[name](net, plan, **{k: v for k, v in offered.items() if k in taken})


def test_the_table_knows_functions_by_their_names():
    for name, make in PENALTIES.items():
        assert make.__name__ == name
        assert method_of(make).kind == "penalty"
        assert method_of(make).removes == bool(method_of(make).grows)


@functools.cache
def plans(net: str, grain: str):
    """Return graph and plan of a network that `drawn` gives, once for all penalties."""
    return planned(drawn(net), grain=grain)


SAID = {"n:m": "2:4", "block": "2x3"}  # how a grain with numbers is requested
cases = pytest.mark.parametrize(
    ("name", "net", "grain"),
    [
        # "grouped" has no BatchNorm, which these two press on.
        *((p, n, "channel") for p in PENALTIES for n in NETS if (p, n) not in BARE),
        *((p, "attending" if g == "head" else "plain", SAID.get(g, g))
          for p in PRUNING for g in method_of(PENALTIES[p]).grains if g != "channel"),
    ],
)  # fmt: skip


@cases
def test_the_gradient_is_that_of_finite_differences(name, net, grain):
    network = drawn(net)
    penalty = made(name, network, *plans(net, grain))
    got = gradients(penalty(LATE), network)
    generator = torch.Generator().manual_seed(0)
    # One direction in all parameters at once: what autograd says of it, and what two evaluations say.
    way = {n: torch.randn(p.shape, dtype=p.dtype, generator=generator) for n, p in network.named_parameters()}
    slope = sum((got[n] * way[n]).sum() for n in way)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for n, p in network.named_parameters():
                p.add_(sign * 1e-5 * way[n])
            ends.append(penalty(LATE))
            for n, p in network.named_parameters():
                p.sub_(sign * 1e-5 * way[n])
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, slope, rtol=1e-5, atol=1e-7)


@cases
def test_it_is_zero_where_it_must_be(name, net, grain):
    network = drawn(net)
    graph, plan = plans(net, grain)
    if name in PRUNING:
        assert made(name, network, graph, plan)(0) == 0  # nothing has grown yet
        if name != "greg_2":
            assert made(name, network, graph, Plan())(LATE) == 0  # nothing goes
    elif name in SPARSE:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        penalty = made(name, network, graph, plan)(LATE)
        assert penalty == 0
        # At its kink the smallest subgradient: what is zero is left in peace.
        assert all(not g.any() for g in gradients(penalty, network).values())
    else:
        with torch.no_grad():
            for module in network.modules():
                if hasattr(module, "weight") and module.weight.dim() > 1:
                    _make_isometric(module, taps=name == "orthogonal_convolution")
        torch.testing.assert_close(made(name, network, graph, plan)(0).item(), 0.0, rtol=0, atol=1e-20)


def _make_isometric(module, *, taps: bool) -> None:
    """Give a layer orthonormal filters; with ``taps`` of one tap each: an isometry as an operator."""
    for block in module.weight.chunk(getattr(module, "groups", 1)):
        if not taps:
            torch.nn.init.orthogonal_(block)
            continue
        _make_delta(block)


def _make_delta(block) -> None:
    flat = torch.zeros_like(block.flatten(2) if block.dim() > 2 else block[:, :, None])
    small = min(flat.shape[:2])
    flat[range(small), range(small), flat.shape[2] // 2] = 1
    block.copy_(flat.reshape(block.shape))


@cases
def test_asking_changes_neither_the_network_nor_its_gradients(name, net, grain):
    network = drawn(net)
    penalty = made(name, network, *plans(net, grain))
    before = {n: t.clone() for n, t in network.state_dict().items()}
    penalty(LATE).backward()
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    network.zero_grad()
    penalty(LATE)
    assert all(p.grad is None for p in network.parameters())


@cases
def test_it_presses_on_layers_that_lose_units_alone(name, net, grain):
    network = drawn(net)
    graph, plan = plans(net, grain)
    if name not in PRUNING:
        return
    last = {"channel": "", "head": ""}.get(plan.grain, list(network.named_modules())[-1][0] + ".weight")
    only = Plan({key: mask for key, mask in plan.kept.items() if key != last}, plan.grain, plan.request)
    got = gradients(made(name, network, graph, only)(LATE), network)
    assert any(g.any() for g in got.values())
    assert last not in got or not got[last].any()


@pytest.mark.parametrize("name", PENALTIES)
def test_the_network_is_no_part_of_it(name):
    network = drawn("plain")
    penalty = made(name, network, *plans("plain", "channel"))
    assert not list(penalty.parameters())
    shapes = {tuple(p.shape) for p in network.parameters() if p.dim() > 1}
    assert not any(tuple(t.shape) in shapes for t in penalty.state_dict().values())


@pytest.mark.parametrize("name", PRUNING)
def test_the_steps_that_it_needs_are_known_from_its_options(name):
    network = drawn("plain")
    options = {
        key: p.default
        for key, p in inspect.signature(PENALTIES[name]).parameters.items()
        if p.default is not p.empty
    }
    assert steps_needed(PENALTIES[name], options) == made(name, network, *plans("plain", "channel")).steps
