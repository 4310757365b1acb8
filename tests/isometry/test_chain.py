"""The product of a chain's factors is its Jacobian, and only a chain is taken for one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.isometry import jacobian_singular_values
from isoprune.isometry.exact import _singular_values
from isoprune.isometry.function import sample_function
from isoprune.isometry.path import Path
from isoprune.types import IsopruneError
from reference import jsv_by_loops

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def batch_norm(width):
    norm = nn.BatchNorm1d(width)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def sequence(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


CHAINS = {
    "one layer": lambda: sequence(nn.Linear(12, 4)),
    "linear": lambda: sequence(nn.Linear(12, 7), nn.Linear(7, 5), nn.Identity(), nn.Linear(5, 4)),
    "relu": lambda: sequence(nn.Linear(12, 7), nn.ReLU(inplace=True), nn.Linear(7, 4)),
    "smooth": lambda: sequence(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 4)),
    "norms": lambda: sequence(batch_norm(12), nn.Linear(12, 7), batch_norm(7), nn.SiLU(), nn.Linear(7, 4)),
    "constant norms": lambda: sequence(nn.Linear(12, 7, bias=False), batch_norm(7), nn.Linear(7, 4)),
    "dropout": lambda: sequence(nn.Linear(12, 7), nn.ELU(), nn.Dropout(), nn.Linear(7, 4)),
    "activation last": lambda: sequence(nn.Linear(12, 7), nn.LeakyReLU(0.1, True), nn.Sigmoid()),
    "activation first": lambda: sequence(nn.Tanh(), nn.Linear(12, 7), nn.ReLU6(), nn.Linear(7, 4)),
    "wide": lambda: sequence(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 20)),
    "one output": lambda: sequence(nn.Linear(12, 7), nn.Softplus(), nn.Linear(7, 1)),
    "narrow": lambda: sequence(nn.Linear(12, 2), nn.Mish(), nn.Linear(2, 6)),
    "images inside": lambda: sequence(
        nn.Linear(12, 8), nn.Unflatten(1, (2, 4)), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ),
}  # fmt: skip


class Via(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.last, self.function = nn.Linear(12, 7), nn.Linear(7, 7), function

    def forward(self, x):
        return self.function(self, x.flatten(1))


OTHERS = {
    "residual": lambda net, x: net.last(F.relu(net.first(x))) + net.first(x),
    "used twice": lambda net, x: F.relu(net.last(h := F.relu(net.first(x)))) * h,
    "softmax": lambda net, x: net.last(net.first(x)).softmax(1),
    "layer norm": lambda net, x: net.last(F.layer_norm(net.first(x), (7,))),
    "by its values": lambda net, x: net.last(F.relu(h) if (h := net.first(x)).sum() > 0 else h),
    "scaled by a sample": lambda net, x: net.last(net.first(x)) * torch.arange(1, 1 + len(x))[:, None],
    "not the end": lambda net, x: (h := net.first(x), net.last(h))[0],
}


def made(build, samples=5):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return build().double().eval(), torch.randn(samples, 3, 2, 2, dtype=torch.float64)


def is_chain(model, x):
    path = Path()
    with sample_function(model, x, path=path):
        return path.complete


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("samples", [1, 5])
def test_values_of_a_chain_are_those_of_the_loops(name, samples):
    model, x = made(CHAINS[name], samples)
    assert is_chain(model, x)
    torch.testing.assert_close(jacobian_singular_values(model, x), jsv_by_loops(model, x), **EXACT)


@pytest.mark.parametrize("name", CHAINS)
def test_chunks_change_nothing(name, monkeypatch):
    model, x = made(CHAINS[name])
    want = jacobian_singular_values(model, x)
    monkeypatch.setattr("isoprune.isometry.chain._CHUNK_BYTES", 1)
    torch.testing.assert_close(jacobian_singular_values(model, x), want, **EXACT)


@pytest.mark.parametrize("name", CHAINS)
def test_float32_agrees_with_float64_down_to_its_precision(name):
    model, x = made(CHAINS[name])
    want = jsv_by_loops(model, x)
    got = jacobian_singular_values(model.float(), x.float())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=2e-6 * float(want.max()))


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_chain_is_measured_the_long_way(name):
    model, x = made(lambda: Via(OTHERS[name]), samples=1 if name == "by its values" else 3)
    if name != "scaled by a sample":
        torch.testing.assert_close(jacobian_singular_values(model, x), jsv_by_loops(model, x), **EXACT)
    if name != "scaled by a sample":
        assert not is_chain(model, x)
    else:
        with pytest.raises(IsopruneError, match=r"not deterministic|Samples influence"):
            jacobian_singular_values(model, x)


def test_a_relu_at_zero_has_torchs_derivative():
    model = sequence(nn.Linear(12, 3), nn.ReLU(), nn.Linear(3, 3)).double().eval()
    nn.init.zeros_(model[1].bias)
    x = torch.zeros(2, 12).double()
    assert is_chain(model, x)
    assert torch.equal(jacobian_singular_values(model, x), torch.zeros(2, 3).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_dead_layer_gives_zeros_and_a_dead_filter_one(dtype):
    model, x = made(CHAINS["smooth"])
    model, x = model.to(dtype), x.to(dtype)
    nn.init.zeros_(model[3].weight[2:])
    sigma = jacobian_singular_values(model, x)
    assert (sigma[:, 1] > 1e-3).all()
    assert (sigma[:, 2:] <= 1e-7 * sigma[:, :1]).all()
    nn.init.zeros_(model[3].weight)
    assert torch.equal(jacobian_singular_values(model, x), torch.zeros(5, 4, dtype=dtype))


def test_weights_that_a_forward_computes_are_part_of_the_chain():
    model, x = made(CHAINS["relu"])
    nn.utils.parametrizations.weight_norm(model[1]).eval()
    assert is_chain(model, x)
    torch.testing.assert_close(jacobian_singular_values(model, x), jsv_by_loops(model, x), **EXACT)


def test_a_chain_without_gradient_is_refused():
    model, x = made(CHAINS["relu"])
    with pytest.raises(IsopruneError, match="do not depend on the input"):
        jacobian_singular_values(Via(torch.no_grad()(lambda _net, x: model(x))).double().eval(), x)


@pytest.mark.parametrize("place", [0, 1])
def test_nan_of_any_sample_is_refused(place):
    model, x = made(CHAINS["relu"], samples=2)
    x[place] = float("nan")
    with pytest.raises(IsopruneError, match="NaN or infinity"):
        jacobian_singular_values(model, x)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6), (1, 5), (5, 1)])
def test_values_of_float32_matrices_are_as_sure_down_to_their_precision(shape):
    generator = torch.Generator().manual_seed(0)
    U, _, Vh = torch.linalg.svd(torch.randn(2, *shape, generator=generator).double(), full_matrices=False)
    want = torch.logspace(0, -6, min(shape)).double()  # graded over all that float32 can tell
    got = _singular_values(((U * want) @ Vh).float())
    torch.testing.assert_close(got.double(), want.expand(2, -1), rtol=0, atol=3e-7)


def test_what_holds_a_network_is_measured_as_the_network():
    model, x = made(CHAINS["relu"])

    class Holder:
        pass

    holder = Holder()
    holder.model = model
    assert torch.equal(jacobian_singular_values(holder, x), jacobian_singular_values(model, x))
