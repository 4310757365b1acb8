"""Estimated singular values: bounds that hold, error bars that cover, products that are exact."""

from __future__ import annotations

import copy

import pytest
import torch
from isometry_networks import NETWORKS, Language, make
from torch import nn

from isoprune.isometry import estimate_jacobian_singular_values, jacobian, jacobian_singular_values
from isoprune.isometry.function import sample_function
from isoprune.isometry.jacobian_operator import jacobian_operator
from isoprune.isometry.krylov import golub_kahan
from isoprune.isometry.trace_estimate import bracket, gauss, mean_singular_value, radau
from isoprune.types import IsopruneError

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
SIZE = 400
INDEX = torch.arange(1, SIZE + 1, dtype=torch.float64)
SPECTRA = {
    "slow power": INDEX**-0.5,
    "power": 1 / INDEX,
    "fast power": INDEX**-2,
    "exponential": torch.exp(-INDEX / 40),
    "uniform": 1 - INDEX / (SIZE + 1),
    "half of it zero": (1 - INDEX / (SIZE / 2)).clamp_min(0),
    "pairs and tens": torch.repeat_interleave(torch.arange(40, 0, -1).double(), 10),
    "log-normal": torch.exp(1.5 * torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).double()),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frames(n, size, k, seed=0):
    return torch.linalg.qr(torch.randn(n, size, k, dtype=torch.float64, generator=generator(seed)))[0]


def diagonal(sigma):
    """Return push and pull of diag(sigma): in random directions every matrix is like a diagonal one."""
    return (lambda v: sigma[:, None] * v,) * 2


@pytest.mark.parametrize("name", SPECTRA)
def test_error_bars_cover_as_often_as_they_say(name):
    sigma = SPECTRA[name]
    seeds = 200
    got = mean_singular_value(*diagonal(sigma), frames(seeds, SIZE, 40), block=5, steps=6)
    off = (got.mean - sigma.mean()).abs()
    covered = (off <= 2 * (got.noise.square() + got.bias.square()).sqrt()).double().mean()
    # 95 % of 200, less three standard deviations of that count.
    assert covered >= 0.95 - 3 * (0.95 * 0.05 / seeds) ** 0.5
    assert ((sigma.max() - got.max) <= got.max_error).double().mean() >= 0.9
    assert (got.max <= sigma.max() * (1 + 1e-12)).all(), "a Ritz value never exceeds the largest"
    rms = sigma.square().mean().sqrt()
    assert (got.rms.square().mean() - rms**2).abs() < 0.02 * rms**2, "unbiased"


@pytest.mark.parametrize("name", SPECTRA)
def test_quadratures_bound_what_the_block_sees_and_close_in(name):
    sigma = SPECTRA[name]
    start = frames(5, SIZE, 3)
    exact = (start.square() * sigma[:, None]).sum(1).mean(1)
    krylov = golub_kahan(*diagonal(sigma), start, steps=8)
    highs = torch.stack([(m.sigma * m.weight).sum(1) for m in (gauss(krylov, j) for j in range(1, 9))])
    lows = torch.stack([(m.sigma * m.weight).sum(1) for m in (radau(krylov, j) for j in range(1, 9))])
    slack = 1e-9 * exact
    assert (lows <= exact + slack).all()
    assert (exact <= highs + slack).all()
    assert (highs.diff(dim=0) <= slack).all()
    assert (lows.diff(dim=0) >= -slack).all()
    value = bracket(krylov).value
    assert (lows[-1] - slack <= value).all()
    assert (value <= highs[-1] + slack).all()


def test_golub_kahan_is_the_projection_of_the_matrix():
    J = torch.randn(2, 30, 50, dtype=torch.float64, generator=generator())
    krylov = golub_kahan(lambda v: J @ v, lambda u: J.mT @ u, frames(2, 30, 3), steps=4)
    U, B = krylov.left, krylov.small[:, :12]
    torch.testing.assert_close(U.mT @ U, torch.eye(12, dtype=torch.float64).expand(2, 12, 12), **CLOSE)
    torch.testing.assert_close(U.mT @ J @ J.mT @ U, B @ B.mT, **CLOSE)
    torch.testing.assert_close(krylov.first, J.mT @ U[:, :, :3], **CLOSE)
    outside = [(i, j) for i in range(5) for j in range(4) if i - j not in (0, 1)]
    assert all(
        (krylov.small[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3].abs() < 1e-12).all() for i, j in outside
    )


@pytest.mark.parametrize("steps", [3, 8])
def test_exhausted_spaces_give_exact_values(steps):
    # Equal singular values: one step sees everything. Rank 4, block 5: so do two.
    same = mean_singular_value(*diagonal(torch.full((SIZE,), 3.0).double()), frames(3, SIZE, 20), 5, steps)
    torch.testing.assert_close(same.mean, torch.full((3,), 3.0).double())
    torch.testing.assert_close(same.max, torch.full((3,), 3.0).double())
    assert (same.noise < 1e-6).all()
    zero = mean_singular_value(*diagonal(torch.zeros(SIZE).double()), frames(3, SIZE, 20), 5, steps)
    assert torch.equal(zero.mean, torch.zeros(3).double())
    assert (zero.rms < 1e-100).all()
    rank_4 = torch.zeros(SIZE).double()
    rank_4[:4] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    few = mean_singular_value(*diagonal(rank_4), frames(40, SIZE, 20), 5, steps)
    off = (few.mean * SIZE - 10).abs() / 10
    assert off.median() < 1e-8
    torch.testing.assert_close(few.max, torch.full((40,), 4.0).double())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("block", [1, 4])
def test_products_are_those_of_the_jacobian(name, block):
    model, x = make(name, samples=2)
    J = jacobian(model, x)
    with (
        sample_function(model, x, differentiable_twice=True) as f,
        jacobian_operator(f, f.rows(0, 2), block) as op,
    ):
        v = torch.randn(2, J.shape[2], 6, dtype=torch.float64, generator=generator())
        u = torch.randn(2, J.shape[1], 6, dtype=torch.float64, generator=generator())
        push, pull = (op.push, op.pull) if J.shape[1] <= J.shape[2] else (op.pull, op.push)
        torch.testing.assert_close(push(v), J @ v, **CLOSE)
        torch.testing.assert_close(pull(u), J.mT @ u, **CLOSE)


class Wide(nn.Module):
    """A network with many outputs: convolutions of every geometry, BatchNorm, and a wide last layer."""

    def __init__(self, outputs=300):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True),
            nn.Conv2d(12, 12, 3, stride=2, padding=2, dilation=2, groups=3), nn.GELU(),
            nn.Conv2d(12, 20, 3, padding="same", padding_mode="circular"), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(20 * 36, outputs)

    def forward(self, x):
        return self.head(self.features(x))


def wide(samples=3, outputs=300):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = Wide(outputs).double().eval()
        net.features[1].running_var.uniform_(0.5, 2)
        return net, torch.randn(samples, 3, 12, 12).double()


def test_estimate_of_a_network_covers_the_exact_values():
    model, x = wide()
    sigma = jacobian_singular_values(model, x)
    rng, before = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    hits = []
    for seed in range(20):
        got = estimate_jacobian_singular_values(model, x, generator=generator(seed))
        hits.append(((got.mean - sigma.mean(1)).abs() <= got.mean_error).double().mean())
        assert ((sigma[:, 0] - got.max) <= got.max_error).all()
        torch.testing.assert_close(got.max, sigma[:, 0], rtol=0.02, atol=0)
        torch.testing.assert_close(got.mean, sigma.mean(1), rtol=0.06, atol=0)
    assert sum(hits) / 20 >= 0.9
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_more_outputs_than_inputs_measures_the_smaller_side():
    net = nn.Sequential(nn.Linear(150, 200), nn.Tanh(), nn.Linear(200, 400)).double().eval()
    x = torch.randn(2, 150, generator=generator()).double()
    got = estimate_jacobian_singular_values(net, x, generator=generator(), probes=30, block=4, steps=6)
    want = jacobian_singular_values(net, x).mean(1)
    assert ((got.mean - want).abs() <= 2 * got.mean_error).all()


def test_same_generator_same_numbers_whatever_the_chunks():
    model, x = wide()
    a = estimate_jacobian_singular_values(model, x, generator=generator(1))
    b = estimate_jacobian_singular_values(model, x, generator=generator(1))
    assert torch.equal(a.mean, b.mean)
    other = estimate_jacobian_singular_values(model, x, generator=generator(2))
    assert not torch.equal(a.mean, other.mean)
    tight = estimate_jacobian_singular_values(model, x, generator=generator(1), memory=12_000_000)
    torch.testing.assert_close(tight.mean, a.mean, **CLOSE)
    with pytest.raises(IsopruneError, match=r"takes .* bytes; memory = 1,000\. Raise memory, or lower block"):
        estimate_jacobian_singular_values(model, x, generator=generator(), memory=1000)


@pytest.mark.parametrize("name", NETWORKS)
def test_few_outputs_are_done_exactly(name):
    model, x = make(name)
    got = estimate_jacobian_singular_values(model, x, generator=generator())
    sigma = jacobian_singular_values(model, x)
    torch.testing.assert_close(got.mean, sigma.mean(1), **CLOSE)
    torch.testing.assert_close(got.max, sigma[:, 0], **CLOSE)
    assert torch.equal(got.mean_error, torch.zeros(len(x)).double())


def test_summary_says_what_the_exact_one_says():
    model, x = wide()
    got = estimate_jacobian_singular_values(model, x, generator=generator())
    said = got.summary()
    assert said["mean"] == pytest.approx(got.mean.mean().item())
    assert said["mean_error"] < got.mean_error.mean(), "noise averages out over samples"
    assert said["mean_error"] > 2 * got.bias.mean(), "bias does not"
    sigma = jacobian_singular_values(model, x)
    assert said["std"] == pytest.approx(sigma.std(correction=0).item(), rel=0.1)
    assert said["distance"] == pytest.approx((sigma - 1).square().mean().item(), rel=0.1)


def test_attention_and_embeddings_have_second_derivatives_here():
    torch.manual_seed(0)
    model = Language().double().eval()
    words = torch.randint(11, (2, 40), generator=generator())
    got = estimate_jacobian_singular_values(
        model, words, generator=generator(), input="embed", output="logits", probes=20, block=3, steps=6
    )
    sigma = jacobian_singular_values(model, words, input="embed", output="logits")
    torch.testing.assert_close(got.mean, sigma.mean(1), rtol=0.15, atol=0)


def test_operation_without_a_second_derivative_is_named():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(_ctx, g):
            return g * 2

    class Net(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    with pytest.raises(IsopruneError, match=r"J v needs second derivatives.*Use jacobian_singular_values"):
        estimate_jacobian_singular_values(Net().eval(), torch.randn(2, 200), generator=generator())


@pytest.mark.parametrize("options", [{"block": 0}, {"steps": 1}, {"probes": 4, "block": 5}])
def test_options_that_make_no_sense(options):
    model, x = wide()
    with pytest.raises(IsopruneError, match="probes, block, steps are"):
        estimate_jacobian_singular_values(model, x, generator=generator(), **options)
