"""Every signal against a slow oracle: loops of autograd, explicit matrices."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from isoprune.signals import Signals
from isoprune.types import IsopruneError
from signals.nets import NETS, drawn, flat, losses, rows, singles

every = pytest.mark.parametrize("name", NETS)


@pytest.fixture(autouse=True)
def _second_derivatives():
    with sdpa_kernel(SDPBackend.MATH):
        yield


def vector(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, dtype=p.dtype, generator=generator) for n, p in net.named_parameters()}


@every
def test_gradients_are_those_of_the_mean_loss_over_samples(name):
    net, batches, task = drawn(name)
    signals = Signals(net, batches, task)
    want = rows(losses(net, batches, task).mean()[None], list(net.parameters()))[0]
    assert list(signals.gradients) == [n for n, _ in net.named_parameters()]
    torch.testing.assert_close(flat(signals.gradients), want.detach())
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.testing.assert_close(flat(signals.sensitivities), weights * want.detach())


@every
@pytest.mark.parametrize("memory", [2**30, 0])  # together, and one by one
def test_sample_gradients_are_those_of_single_samples(name, memory):
    net, batches, task = drawn(name)
    want = rows(losses(net, batches, task), list(net.parameters())).detach()
    chunks = list(Signals(net, batches, task, memory=memory).sample_gradients())
    assert len(chunks) == (2 if memory else 5)
    got = torch.cat([torch.cat([g.flatten(1) for g in chunk.values()], 1) for chunk in chunks])
    torch.testing.assert_close(got, want)


def test_memory_bounds_how_many_samples_are_looked_at_at_a_time():
    net, batches, task = drawn("mlp")
    size = 8 * sum(p.numel() for p in net.parameters())
    chunks = Signals(net, batches, task, memory=2 * 4 * size).sample_gradients()
    assert [len(chunk["0.weight"]) for chunk in chunks] == [2, 2, 1]


class Choosy(nn.Module):
    """Asks for a value, which a forward over many samples at once does not have."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x) if x.sum().item() > 0 else self.layer(-x)


def test_a_network_that_asks_for_values_is_run_sample_by_sample():
    _, batches, task = drawn("mlp")
    net = Choosy().double()
    want = rows(losses(net, batches, task), list(net.parameters())).detach()
    chunks = list(Signals(net, batches, task).sample_gradients())
    torch.testing.assert_close(
        torch.cat([torch.cat([g.flatten(1) for g in c.values()], 1) for c in chunks]), want
    )


@every
def test_the_empirical_fisher_matrix_by_its_diagonal_and_its_products(name):
    net, batches, task = drawn(name)
    signals, v = Signals(net, batches, task), vector(net)
    G = rows(losses(net, batches, task), list(net.parameters())).detach()
    fisher = G.T @ G / len(G)
    torch.testing.assert_close(flat(signals.fisher_diagonal), fisher.diagonal())

    def along(g):
        each = sum(g[n].flatten(1) @ v[n].flatten() for n in v)
        return {n: torch.tensordot(each, g[n], 1) for n in g}

    torch.testing.assert_close(flat(signals.sample_mean(along)), fisher @ flat(v))


@every
def test_hessian_products_are_those_of_the_explicit_hessian(name):
    net, batches, task = drawn(name)
    v, parameters = vector(net), list(net.parameters())
    slope = rows(losses(net, batches, task).mean()[None], parameters)[0]
    H = rows(slope, parameters).detach()
    signals = Signals(net, batches, task)
    for product in (signals.hessian_product, signals.hessian, signals.hessian):
        torch.testing.assert_close(flat(product(v)), H @ flat(v))


def explicit_gauss_newton(net, batches, task):
    """Return the mean over samples of J^T H J, as a matrix."""
    parameters = list(net.parameters())
    net.eval()
    number = sum(p.numel() for p in parameters)
    total = torch.zeros(number, number, dtype=torch.float64)
    for batch in singles(batches):
        inputs = task.inputs(batch)
        out = net(**inputs)["scores"] if isinstance(inputs, dict) else net(inputs)
        J = rows(out.flatten(), parameters).detach()

        def of_outputs(z, batch=batch):
            return task.loss({"scores": z} if isinstance(batch, dict) else z, batch)

        H = torch.autograd.functional.hessian(of_outputs, out.detach()).reshape(out.numel(), -1)
        total += J.T @ H @ J
    net.train()
    return total / len(singles(batches))


@every
def test_the_gauss_newton_diagonal_is_that_of_the_explicit_matrix(name):
    net, batches, task = drawn(name)
    want = explicit_gauss_newton(net, batches, task).diagonal()
    torch.testing.assert_close(flat(Signals(net, batches, task).gauss_newton_diagonal()), want)


def test_draws_of_the_gauss_newton_diagonal_have_it_as_mean():
    net, batches, task = drawn("mlp")
    want = explicit_gauss_newton(net, batches, task).diagonal()
    state = torch.random.get_rng_state()
    got = flat(Signals(net, batches, task).gauss_newton_diagonal(50, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert 0 < float((got - want).norm() / want.norm()) < 0.2
    two = nn.Sequential(net, nn.Linear(3, 2)).double()  # cross-entropy of two classes bends along one line
    binary = Signals(two, [(x, y % 2) for x, y in batches], task)
    one = binary.gauss_newton_diagonal(1, torch.Generator())
    torch.testing.assert_close(flat(one), flat(binary.gauss_newton_diagonal()))


def test_a_vector_that_leaves_weights_out_is_zero_there():
    net, batches, task = drawn("mlp")
    signals = Signals(net, batches, task)
    some = {"3.weight": vector(net)["3.weight"]}
    all_of_it = {n: some.get(n, torch.zeros_like(p)) for n, p in net.named_parameters()}
    for product in (signals.hessian_product, signals.hessian):
        torch.testing.assert_close(flat(product(some)), flat(product(all_of_it)))


@every
def test_reading_leaves_the_network_as_it_was(name):
    net, batches, task = drawn(name)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = copy.deepcopy(net.state_dict())
    signals = Signals(net, batches, task)
    v = vector(net)
    _ = signals.gradients, signals.fisher_diagonal, signals.hessian_product(v)
    module = "attend" if name == "pair" else "0"
    list(signals.activations([module], gradients=True))
    signals.inputs(2)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) and p.requires_grad for p in net.parameters())
    assert all(module.training for module in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


class Masked(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight):
        return weight * self.mask


def test_a_parametrized_network_gives_signals_of_the_weights_that_it_works_with():
    net, batches, task = drawn("mlp")
    mask = (torch.arange(12).reshape(3, 4) % 3 > 0).double()
    plain = copy.deepcopy(net)
    with torch.no_grad():
        plain[3].weight *= mask
    parametrize.register_parametrization(net[3], "weight", Masked(mask))
    before = copy.deepcopy(net.state_dict())
    masked, want = Signals(net, batches, task), Signals(plain, batches, task)
    for signal in ("weights", "gradients", "fisher_diagonal", "matrices"):
        got = getattr(masked, signal)
        assert set(got) == set(getattr(want, signal))
        torch.testing.assert_close(got, {n: getattr(want, signal)[n] for n in got})
    assert parametrize.is_parametrized(net[3], "weight")
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_filter_matrices_are_blocks_of_rows_that_make_one_channel_each():
    net = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 5, 2), nn.Linear(5, 2))
    found = Signals(net).matrices
    assert {n: tuple(W.shape) for n, W in found.items()} == {
        "0.weight": (2, 3, 18), "1.weight": (1, 5, 24), "2.weight": (1, 2, 5)
    }  # fmt: skip
    assert torch.equal(found["0.weight"][1, 0], net[0].weight[3].flatten())
    assert torch.equal(found["1.weight"][0, 2], net[1].weight[:, 2].flatten())


def test_generators_of_batches_are_read_once_and_kept():
    net, batches, task = drawn("mlp")
    signals = Signals(net, iter(batches), task)
    assert len(list(signals.data())) == len(list(signals.data())) == 2


@pytest.mark.parametrize("none", [None, [], iter(())])
def test_without_data_what_needs_some_is_refused(none):
    net, _, task = drawn("mlp")
    with pytest.raises(IsopruneError, match="batches is empty"):
        _ = Signals(net, none, task).gradients


@pytest.mark.parametrize("memory", [2**30, 0])
def test_a_loss_that_is_not_finite_is_refused(memory):
    net, batches, task = drawn("mlp")
    with torch.no_grad():
        net[0].bias[0] = float("nan")
    signals = Signals(net, batches, task, memory=memory)
    for read in (lambda: signals.gradients, lambda: signals.fisher_diagonal,
                 lambda: signals.hessian_product(vector(net))):  # fmt: skip
        with pytest.raises(IsopruneError, match="The loss on the data is nan"):
            read()
